"""What every source tree does: walk, find, read, with limits.

Walks are lazy and count as they go, so that a tree that claims 10^9 paths is refused after `TreeLimits.files` of them.
"""

import os
import re
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import PurePosixPath
from typing import Generic, Protocol, TypeVar, runtime_checkable

from buildpacks.ports import Entry, TreeLimitError, TreeLimits

K = TypeVar("K")

_DIRECTORIES_KEPT = 256

FILE = 0o100644
EXECUTABLE = 0o100755
LINK = 0o120000
SUBMODULE = 0o160000
DIRECTORY = 0o040000


class TreeError(Exception):
    """A tree cannot be read: an object is missing or damaged, an entry has an unusable name."""


@dataclass(frozen=True)
class Node(Generic[K]):
    """An entry of one directory; `key` finds its content. `mode` is git's."""

    name: str
    mode: int
    key: K

    @property
    def is_directory(self) -> bool:
        """Whether it holds other nodes."""
        return self.mode == DIRECTORY

    @property
    def is_regular(self) -> bool:
        """Whether it is a file, executable or not."""
        return self.mode in {FILE, EXECUTABLE}

    @property
    def order(self) -> bytes:
        """Git's order: as if a directory's name ended with a slash, which sorts whole paths by their bytes."""
        return os.fsencode(self.name) + (b"/" if self.is_directory else b"")


class SourceTree(ABC, Generic[K]):
    """The `Tree` port over anything that lists directories. Subclasses say how to list, size and read."""

    def __init__(self, root: K, limits: TreeLimits) -> None:
        self._root = root
        self._limits = limits
        self._kept: OrderedDict[K, dict[str, Node[K]]] = OrderedDict()

    @abstractmethod
    def _list(self, key: K) -> Iterable[Node[K]]:
        """Nodes of a directory, in any order."""

    @abstractmethod
    def _size(self, node: Node[K]) -> int:
        """Bytes that `_content` would give."""

    @abstractmethod
    def _content(self, node: Node[K]) -> Iterator[bytes]:
        """Bytes of a file, or the target of a link."""

    def entries(self) -> Iterator[Entry]:
        """Every file, link and submodule, sorted by path.

        Raises:
            TreeLimitError: more files, bytes, depth or longer paths than allowed.
        """
        total = 0
        for path, node in self._walk(self._limits.depth):
            size = 0 if node.mode == SUBMODULE else self._size(node)
            total += size
            if total > self._limits.total_bytes:
                raise TreeLimitError(
                    f"more than {self._limits.total_bytes} bytes of source, reached at {printable(path)}"
                )
            yield Entry(path, node.mode, size)

    def files(self, pattern: str = "*") -> list[str]:
        """Sorted paths of regular files that match a glob; `*` does not cross `/`, `**` does."""
        if "**" not in pattern:
            return [path for path, node in self._matching(pattern) if node.is_regular]
        matches = glob_pattern(pattern).fullmatch
        return [path for path, node in self._walk(self._limits.depth) if node.is_regular and matches(path)]

    def _matching(self, pattern: str) -> Iterator[tuple[str, Node[K]]]:
        """Entries that match a glob without `**`. Only directories that can hold one are listed."""
        found, seen = [("", self._root)], 0
        *folders, last = pattern.split("/")
        for folder in folders:
            below = []
            for prefix, key in found:
                named = list(_named(self._children(key), folder))
                seen += len(named)
                self._check_count(seen, prefix)
                below += [
                    (self._checked_path(f"{prefix}{node.name}/"), node.key)
                    for node in named
                    if node.is_directory
                ]
            found = below
        for prefix, key in found:
            for node in _named(self._children(key), last):
                seen += 1
                self._check_count(seen, prefix)
                if not node.is_directory:
                    yield self._checked_path(prefix + node.name), node

    def read(self, path: str, limit: int = 1 << 20) -> bytes | None:
        """Content of a regular file, None when there is none; links are not followed.

        Raises:
            TreeLimitError: the file is larger than `limit` bytes.
        """
        node = self._find(path)
        if node is None or not node.is_regular:
            return None
        if self._size(node) > limit:
            raise TreeLimitError(f"{printable(path)} is larger than {limit} bytes")
        return b"".join(self._content(node))

    def chunks(self, path: str) -> Iterator[bytes]:
        """Content of a file or the target of a link, piece by piece; nothing for a submodule.

        Raises:
            FileNotFoundError: there is no such entry.
        """
        node = self._find(path)
        if node is None or node.is_directory:
            raise FileNotFoundError(path)
        return iter(()) if node.mode == SUBMODULE else self._content(node)

    def is_executable(self, path: str) -> bool:
        """Whether the file has the executable bit."""
        node = self._find(path)
        return node is not None and node.mode == EXECUTABLE

    def link_target(self, path: str) -> str | None:
        """Where a link points, as it is written in it; None when the entry is no link."""
        node = self._find(path)
        if node is None or node.mode != LINK or self._size(node) > self._limits.path_bytes:
            return None
        return os.fsdecode(b"".join(self._content(node)))

    def _find(self, path: str) -> Node[K] | None:
        key, parts = self._root, path.split("/")
        for position, part in enumerate(parts):
            node = self._children(key).get(part)
            if node is None or (position < len(parts) - 1 and not node.is_directory):
                return None
            key = node.key
        return node

    def _children(self, key: K) -> dict[str, Node[K]]:
        """Nodes of a directory by name, in order. The last ones asked for are kept."""
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = self._sorted(key)
            if len(self._kept) > _DIRECTORIES_KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return found

    def _sorted(self, key: K) -> dict[str, Node[K]]:
        nodes = list(islice(self._list(key), self._limits.files + 1))
        if len(nodes) > self._limits.files:
            raise TreeLimitError(f"more than {self._limits.files} files in one directory")
        for node in nodes:
            _check_name(node.name)
        return {node.name: node for node in sorted(nodes, key=lambda node: node.order)}

    def _walk(self, depth: int) -> Iterator[tuple[str, Node[K]]]:
        """Everything but directories, down to `depth` slashes; deeper is an error."""
        root = self._children(self._root)
        pending, seen = [("", iter(root.values()), 0)], len(root)
        while pending:
            self._check_count(seen, pending[-1][0])
            prefix, nodes, level = pending[-1]
            node = next(nodes, None)
            if node is None:
                pending.pop()
                continue
            path = self._checked_path(prefix + node.name)
            if not node.is_directory:
                yield path, node
            elif level < depth:
                below = self._children(node.key)
                # Counted when listed, not when visited: what is listed is what takes memory.
                seen += len(below)
                pending.append((f"{path}/", iter(below.values()), level + 1))
            else:
                raise TreeLimitError(f"more than {depth} directories deep at {printable(path)}")

    def _check_count(self, seen: int, prefix: str) -> None:
        if seen > self._limits.files:
            place = f", reached at {printable(prefix)}" if prefix else ""
            raise TreeLimitError(f"more than {self._limits.files} files{place}")

    def _checked_path(self, path: str) -> str:
        if len(os.fsencode(path)) > self._limits.path_bytes:
            raise TreeLimitError(f"a path is longer than {self._limits.path_bytes} bytes: {printable(path)}")
        return path


@runtime_checkable
class Links(Protocol):
    """A tree that can say where a link points."""

    def link_target(self, path: str) -> str | None:
        """Where a link points, None when the entry is no link."""


def _named(nodes: Mapping[str, Node[K]], pattern: str) -> Iterator[Node[K]]:
    """The nodes of a directory whose name matches one part of a glob, in order."""
    if "*" not in pattern and "?" not in pattern:
        node = nodes.get(pattern)
        yield from () if node is None else (node,)
        return
    matches = glob_pattern(pattern).fullmatch
    yield from (node for name, node in nodes.items() if matches(name))


def _check_name(name: str) -> None:
    if name in {"", ".", "..", ".git"} or "/" in name or "\0" in name:
        raise TreeError(f"an entry has the unusable name {name!r}")


def glob_pattern(pattern: str) -> re.Pattern[str]:
    """A glob as a regular expression: `*` and `?` stay inside a name, `**/` is any number of directories."""
    tokens = {"**/": "(?:[^/]+/)*", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = re.split(r"(\*\*/|\*\*|\*|\?)", pattern)
    return re.compile("".join(tokens.get(part, re.escape(part)) for part in parts), re.DOTALL)


def printable(text: str, limit: int = 200) -> str:
    """Text from a repository made fit for a terminal: control characters escaped, length bounded."""
    shown = "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text[:limit]
    )
    return shown + ("…" if len(text) > limit else "")


def follow_link(tree: Links, path: str, hops: int = 5) -> str:
    """Where a path leads when its last part is a link to a file of the same tree; the path itself otherwise."""
    for _ in range(hops):
        target = tree.link_target(path)
        if target is None:
            return path
        resolved = _resolve(PurePosixPath(path).parent, target)
        if resolved is None:
            return path
        path = resolved
    return path


def _resolve(parent: PurePosixPath, target: str) -> str | None:
    """A relative target as a path of the tree; None when it leads out."""
    if target.startswith("/"):
        return None
    parts: list[str] = list(parent.parts)
    for part in target.split("/"):
        if part == ".." and not parts:
            return None
        if part == "..":
            parts.pop()
        elif part not in {"", "."}:
            parts.append(part)
    return "/".join(parts) or None
