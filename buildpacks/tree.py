"""Source trees read without a checkout: git objects, a directory, plain data."""

import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from buildpacks.gittree import GitTree
from buildpacks.ports import TreeLimits
from buildpacks.walk import DIRECTORY, EXECUTABLE, FILE, LINK, Node, SourceTree, TreeError

__all__ = ["DirectoryTree", "GitTree", "MemoryFile", "MemoryTree", "TreeError"]

_CHUNK = 1 << 16


class DirectoryTree(SourceTree[Path]):
    """A directory of this machine, without `.git`; links are entries and are not followed."""

    def __init__(self, path: Path, limits: TreeLimits | None = None) -> None:
        super().__init__(path, limits or TreeLimits())

    def _list(self, key: Path) -> Iterator[Node[Path]]:
        with os.scandir(key) as found:
            for entry in found:
                mode = _git_mode(entry.stat(follow_symlinks=False).st_mode)
                if mode is not None and entry.name != ".git":
                    yield Node(entry.name, mode, Path(entry.path))

    def _size(self, node: Node[Path]) -> int:
        return node.key.lstat().st_size

    def _content(self, node: Node[Path]) -> Iterator[bytes]:
        if node.mode == LINK:
            yield os.fsencode(node.key.readlink())
            return
        with os.fdopen(os.open(node.key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            while chunk := file.read(_CHUNK):
                yield chunk


@dataclass(frozen=True)
class MemoryFile:
    """A file given as data. For a link, `content` is its target."""

    content: bytes
    mode: int = FILE


class MemoryTree(SourceTree[str]):
    """A tree given as data: paths to bytes, text, or `MemoryFile` for another mode."""

    def __init__(
        self, files: Mapping[str, bytes | str | MemoryFile], limits: TreeLimits | None = None
    ) -> None:
        super().__init__("", limits or TreeLimits())
        self._files = {path: _memory_file(content) for path, content in files.items()}
        self._directories: dict[str, dict[str, int]] = {"": {}}
        for path, file in self._files.items():
            self._add(path, file.mode)

    def _add(self, path: str, mode: int) -> None:
        parent, _, name = path.rpartition("/")
        if parent not in self._directories:
            self._directories[parent] = {}
            self._add(parent, DIRECTORY)
        self._directories[parent][name] = mode

    def _list(self, key: str) -> Iterator[Node[str]]:
        for name, mode in self._directories[key].items():
            yield Node(name, mode, f"{key}/{name}" if key else name)

    def _size(self, node: Node[str]) -> int:
        return len(self._files[node.key].content)

    def _content(self, node: Node[str]) -> Iterator[bytes]:
        yield self._files[node.key].content


def _memory_file(content: bytes | str | MemoryFile) -> MemoryFile:
    if isinstance(content, MemoryFile):
        return content
    return MemoryFile(content.encode() if isinstance(content, str) else content)


def _git_mode(mode: int) -> int | None:
    """Git's mode for a file's; None for sockets, pipes and devices."""
    if stat.S_ISLNK(mode):
        return LINK
    if stat.S_ISDIR(mode):
        return DIRECTORY
    if stat.S_ISREG(mode):
        return EXECUTABLE if mode & stat.S_IXUSR else FILE
    return None
