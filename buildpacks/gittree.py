"""A source tree read from git's objects: the quarantine of a push first, then the repository."""

import os
import re
import subprocess
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from dulwich.object_store import DiskObjectStore
from dulwich.objects import ObjectID, parse_tree
from dulwich.pack import Pack

from buildpacks.ports import TreeLimitError, TreeLimits
from buildpacks.walk import DIRECTORY, EXECUTABLE, FILE, LINK, SUBMODULE, Node, SourceTree, TreeError

_COMMIT, _TREE, _BLOB, _TAG, _OFFSET_DELTA, _REFERENCE_DELTA = 1, 2, 3, 4, 6, 7
_LOOSE_TYPES = {b"commit": _COMMIT, b"tree": _TREE, b"blob": _BLOB, b"tag": _TAG}
_TREE_OBJECT_BYTES = 32 << 20
_STREAM_FROM = 4 << 20
"""Blobs from this size on are streamed by a git child, so that a large one never fills this process's memory."""
_CHUNK = 1 << 16


class GitTree(SourceTree[bytes]):
    """The tree of a commit, tag or tree id.

    Blocking; close it (or use it as a context manager) to release the packs it has mapped.

    Args:
        repository: a bare repository (or a `.git` directory).
        quarantine: the object directory of a push that is not accepted yet.
        treeish: full hexadecimal id.
        limits: what the tree may hold.

    Raises:
        TreeError: an object is missing or is not what it should be.
    """

    def __init__(
        self, repository: Path, quarantine: Path | None, treeish: str, limits: TreeLimits | None = None
    ) -> None:
        self._objects = GitObjects(repository, quarantine)
        self._treeish = treeish
        try:
            super().__init__(self._objects.tree_of(treeish), limits or TreeLimits())
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the packs and files; a second call does nothing."""
        self._objects.close()

    @property
    def tree_id(self) -> str:
        """The tree's hexadecimal id: the same for the same content."""
        return self._root.decode()

    @property
    def subject(self) -> str:
        """The first line of the commit's message, printable; empty for a tree."""
        kind, raw = self._objects.raw(self._treeish.encode())
        message = raw.partition(b"\n\n")[2] if kind == _COMMIT else b""
        line = message.strip().partition(b"\n")[0].decode(errors="replace")
        return "".join(character if character.isprintable() else " " for character in line)

    def _list(self, key: bytes) -> Iterable[Node[bytes]]:
        kind, size = self._objects.header(key)
        if size > _TREE_OBJECT_BYTES:
            raise TreeLimitError(f"a directory's listing is larger than {_TREE_OBJECT_BYTES} bytes")
        kind, raw = self._objects.raw(key)
        if kind != _TREE:
            raise TreeError(f"object {key.decode()} is not a tree")
        for name, mode, child in parse_tree(raw, 20):
            yield Node(os.fsdecode(name), _known_mode(mode), child)

    def _size(self, node: Node[bytes]) -> int:
        return self._objects.header(node.key)[1]

    def _content(self, node: Node[bytes]) -> Iterator[bytes]:
        if self._size(node) >= _STREAM_FROM:
            yield from self._objects.stream(node.key)
        else:
            yield self._objects.raw(node.key)[1]


class GitObjects:
    """Objects of up to two object directories, by hexadecimal id."""

    def __init__(self, repository: Path, quarantine: Path | None) -> None:
        self._repository = repository
        self._paths = [path for path in (quarantine, repository / "objects") if path is not None]
        self._stack = ExitStack()
        self._stores = [DiskObjectStore(path) for path in self._paths]
        for store in self._stores:
            self._stack.callback(store.close)
        self._packs: list[tuple[Pack, int]] | None = None
        self._last: tuple[bytes, tuple[int, int]] | None = None

    def close(self) -> None:
        """Release packs and descriptors; a second call does nothing."""
        self._packs = None
        self._stack.close()

    def tree_of(self, treeish: str) -> bytes:
        """The id of the tree that a commit, a tag or a tree stands for."""
        key = treeish.encode("ascii", "replace")
        for _ in range(8):
            if not re.fullmatch(rb"[0-9a-f]{40}", key):
                raise TreeError(f"{treeish!r} is not an object id")
            kind, raw = self.raw(key)
            if kind == _TREE:
                return key
            if kind == _BLOB:
                break
            key = raw.partition(b"\n")[0].rpartition(b" ")[2]
        raise TreeError(f"{treeish} does not lead to a tree")

    def raw(self, key: bytes) -> tuple[int, bytes]:
        """Type and content of an object."""
        for store in self._stores:
            try:
                return store.get_raw(ObjectID(key))
            except KeyError:
                continue
            except (zlib.error, ValueError, AssertionError) as error:
                raise TreeError(f"object {key.decode()} is damaged: {error}") from error
        raise TreeError(f"object {key.decode()} is missing")

    def header(self, key: bytes) -> tuple[int, int]:
        """Type (as stored) and size of an object, from its first bytes: a bomb is seen before it is inflated."""
        if self._last is None or self._last[0] != key:
            self._last = (key, self._packed(key) or self._loose(key) or self._elsewhere(key))
        return self._last[1]

    def _packed(self, key: bytes) -> tuple[int, int] | None:
        for pack, descriptor in self._opened_packs():
            try:
                offset = pack.index.object_offset(ObjectID(key))
            except KeyError:
                continue
            return _packed_header(descriptor, offset)
        return None

    def _loose(self, key: bytes) -> tuple[int, int] | None:
        name = key.decode()
        headers = (_loose_header(f"{path}/{name[:2]}/{name[2:]}") for path in self._paths)
        return next((header for header in headers if header is not None), None)

    def _elsewhere(self, key: bytes) -> tuple[int, int]:
        """In an alternate that a repository names; rare, so the whole object is read."""
        kind, raw = self.raw(key)
        return kind, len(raw)

    def stream(self, key: bytes) -> Iterator[bytes]:
        """Content of a large blob, inflated by a git child and passed on piece by piece."""
        command = ["git", "--git-dir", str(self._repository), "cat-file", "blob", key.decode()]
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=self._environment(),
        ) as child:
            assert child.stdout is not None
            try:
                while chunk := child.stdout.read(_CHUNK):
                    yield chunk
            except BaseException:
                child.kill()
                raise
        if child.returncode != 0:
            raise TreeError(f"git could not read object {key.decode()}")

    def _environment(self) -> dict[str, str]:
        """Only what git needs; no user or system configuration takes part."""
        return {
            "PATH": os.environ.get("PATH", os.defpath),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_OBJECT_DIRECTORY": str(self._paths[0]),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": os.pathsep.join(str(path) for path in self._paths[1:]),
        }

    def _opened_packs(self) -> list[tuple[Pack, int]]:
        if self._packs is None:
            packs = [pack for store in self._stores for pack in store.packs]
            self._packs = [(pack, self._open(Path(pack.data.path))) for pack in packs]
        return self._packs

    def _open(self, path: Path) -> int:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._stack.callback(os.close, descriptor)
        return descriptor


def _known_mode(mode: int) -> int:
    """Git writes more modes than it means: any regular file is 644 or 755 by its owner's bit."""
    if mode in {DIRECTORY, LINK, SUBMODULE}:
        return mode
    if mode & 0o170000 == 0o100000:
        return EXECUTABLE if mode & 0o100 else FILE
    raise TreeError(f"an entry has the unknown mode {mode:o}")


def _loose_header(path: str) -> tuple[int, int] | None:
    try:
        with open(path, "rb", buffering=0) as file:
            start = zlib.decompressobj().decompress(file.read(128), 64)
    except FileNotFoundError:
        return None
    except zlib.error as error:
        raise TreeError(f"an object is damaged: {error}") from error
    kind, _, size = start.partition(b"\0")[0].partition(b" ")
    if kind not in _LOOSE_TYPES or not size.isdigit():
        raise TreeError("an object has an unknown header")
    return _LOOSE_TYPES[kind], int(size)


def _packed_header(descriptor: int, offset: int) -> tuple[int, int]:
    """The type and size in a pack entry's header; for a delta, the size of what it makes (gitformat-pack)."""
    data = os.pread(descriptor, 256, offset)
    kind, size, used = (data[0] >> 4) & 7, data[0] & 15, 1
    shift = 4
    while data[used - 1] & 0x80:
        size |= (data[used] & 0x7F) << shift
        shift, used = shift + 7, used + 1
    if kind not in {_OFFSET_DELTA, _REFERENCE_DELTA}:
        return kind, size
    used = used + 20 if kind == _REFERENCE_DELTA else _after_varint(data, used)
    delta = zlib.decompressobj().decompress(data[used:], 32)
    return kind, _varint(delta, _after_varint(delta, 0))


def _after_varint(data: bytes, start: int) -> int:
    while data[start] & 0x80:
        start += 1
    return start + 1


def _varint(data: bytes, start: int) -> int:
    value = 0
    for shift, byte in enumerate(data[start:]):
        value |= (byte & 0x7F) << (7 * shift)
        if not byte & 0x80:
            return value
    return value
