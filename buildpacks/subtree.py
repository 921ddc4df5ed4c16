"""A folder of a tree as a tree of its own: what an app in a monorepo is built from."""

from collections.abc import Iterator
from dataclasses import replace

from buildpacks.ports import Entry, Tree
from buildpacks.walk import Links


class SubTree:
    """The files below `folder`; nothing above it can be reached. Paths are relative to it."""

    def __init__(self, tree: Tree, folder: str) -> None:
        self._tree = tree
        self._prefix = f"{folder}/"

    def entries(self) -> Iterator[Entry]:
        """Every file below the folder, sorted by path."""
        for entry in self._tree.entries():
            if entry.path.startswith(self._prefix):
                yield replace(entry, path=entry.path.removeprefix(self._prefix))

    def files(self, pattern: str = "*") -> list[str]:
        """Sorted paths of regular files that match a glob."""
        return [path.removeprefix(self._prefix) for path in self._tree.files(self._prefix + pattern)]

    def read(self, path: str, limit: int = 1 << 20) -> bytes | None:
        """Content of a regular file, None when there is none."""
        return self._tree.read(self._prefix + path, limit)

    def chunks(self, path: str) -> Iterator[bytes]:
        """Content of a file or the target of a link, piece by piece."""
        return self._tree.chunks(self._prefix + path)

    def is_executable(self, path: str) -> bool:
        """Whether the file has the executable bit."""
        return self._tree.is_executable(self._prefix + path)

    def link_target(self, path: str) -> str | None:
        """Where a link points, None when the entry is no link."""
        return self._tree.link_target(self._prefix + path) if isinstance(self._tree, Links) else None
