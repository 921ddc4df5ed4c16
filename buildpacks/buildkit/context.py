"""What the engine gets of a tree: a sorted list of files with canonical metadata, content read on demand.

Owner 0, modes 0644/0755, links kept as links, submodules left out. Every file carries the build's time: BuildKit's
cache looks at content, not at times, and a fixed time would make web servers take a changed file of the same size for
the one a browser already has.

These functions read the tree and so belong into a thread.
"""

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from buildpacks.buildkit import ignore
from buildpacks.ports import BuildRequest, Entry, Tree

# Go's os.FileMode, which the protocol carries.
_DIRECTORY = 1 << 31
_LINK = 1 << 27

_GIT_LINK = 0o120000
_GIT_SUBMODULE = 0o160000
_GIT_TYPE = 0o170000
_NAMES_SHOWN = 3


@dataclass(frozen=True)
class File:
    """A file, directory or link of a context. `mode` is Go's, `read` gives the content of a regular file."""

    path: str
    mode: int
    size: int = 0
    target: str = ""
    read: Callable[[], Iterable[bytes]] | None = None


@dataclass(frozen=True)
class Context:
    """Files in the order the protocol wants (parents first, then by the bytes of each name), and notes for people."""

    files: tuple[File, ...]
    notes: tuple[str, ...] = ()


def of_request(request: BuildRequest) -> Context:
    """List the request's tree and extra files.

    Raises:
        TreeLimitError: the tree is over a limit.
        ValueError: an extra file has the path of a file of the tree.
    """
    entries = list(request.tree.entries())
    kept = [entry for entry in entries if entry.mode & _GIT_TYPE != _GIT_SUBMODULE]
    kept = _filtered(kept, "\n".join(request.ignored))
    wanted = _without_ignored(request, kept)
    files = [_file(request.tree, entry) for entry in wanted]
    files += [_extra(path, content) for path, content in request.extra_files.items()]
    _refuse_clash(entries, request.extra_files)
    return Context(tuple(with_directories(files)), tuple(_notes(entries, kept, wanted, request.ignore_file)))


def single(path: str, content: bytes) -> Context:
    """A context of one file."""
    return Context((_extra(path, content),))


def with_directories(files: Iterable[File]) -> Iterator[File]:
    """The files in protocol order, each directory before what it holds."""
    opened: tuple[str, ...] = ()
    for file in sorted(files, key=_order):
        parents = tuple(file.path.split("/")[:-1])
        shared = sum(
            1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(opened, parents, strict=False))
        )
        for depth in range(shared, len(parents)):
            yield File("/".join(parents[: depth + 1]), _DIRECTORY | 0o755)
        opened = parents
        yield file


def _order(file: File) -> list[bytes]:
    return [os.fsencode(name) for name in file.path.split("/")]


def _without_ignored(request: BuildRequest, entries: list[Entry]) -> list[Entry]:
    content = request.tree.read(request.ignore_file) if request.ignore_file else None
    return _filtered(entries, (content or b"").decode(errors="replace"))


def _filtered(entries: list[Entry], patterns: str) -> list[Entry]:
    ignored = ignore.parse(patterns)
    return [entry for entry in entries if not ignored(entry.path)] if ignored else entries


def _file(tree: Tree, entry: Entry) -> File:
    if entry.mode & _GIT_TYPE == _GIT_LINK:
        return File(entry.path, _LINK | 0o777, target=os.fsdecode(b"".join(tree.chunks(entry.path))))
    mode = 0o755 if entry.mode & 0o100 else 0o644
    return File(entry.path, mode, entry.size, read=lambda: tree.chunks(entry.path))


def _extra(path: str, content: bytes) -> File:
    return File(path, 0o644, len(content), read=lambda: (content,))


def _refuse_clash(entries: Iterable[Entry], extra: Iterable[str]) -> None:
    clash = {entry.path for entry in entries}.intersection(extra)
    if clash:
        raise ValueError(f"the source has a file of its own at {min(clash)}")


def _notes(
    entries: list[Entry], kept: list[Entry], wanted: list[Entry], ignore_file: str | None
) -> Iterator[str]:
    submodules = [entry.path for entry in entries if entry.mode & _GIT_TYPE == _GIT_SUBMODULE]
    if submodules:
        more = f" and {len(submodules) - _NAMES_SHOWN} more" if len(submodules) > _NAMES_SHOWN else ""
        yield f"Git submodules are not fetched: {', '.join(submodules[:_NAMES_SHOWN])}{more}"
    if len(wanted) < len(kept):
        yield f"{ignore_file} leaves out {len(kept) - len(wanted)} of {len(kept)} files"
