"""Hands the context to the engine: the sending half of BuildKit's file transfer.

Source: moby/buildkit `session/filesync` (service `moby.filesync.v1.FileSync`, method `DiffCopy`) and tonistiigi/fsutil.
The sender lists every file (STAT) and ends the list with an empty STAT; the receiver asks for content by the file's
place in the list (REQ); content comes as DATA and ends with an empty DATA; FIN is said by both.

Many small messages go out in one write, and files are read in a thread of a bounded pool, one step at a time, so that
neither the event loop nor memory pays for a large tree.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor

from buildpacks.buildkit.context import Context, File
from buildpacks.buildkit.messages import Packet, Stat
from buildpacks.buildkit.session import Call, framed

STAT, REQUEST, DATA, FIN = 0, 1, 2, 3
_CHUNK = 32 << 10
_WRITE = 128 << 10
_REQUESTS_AT_ONCE = 256


class ContextChangedError(Exception):
    """A file's content is not what its listing said."""


class FileSync:
    """Serves named contexts (`context`, `dockerfile`) to one build. `mtime` is in nanoseconds."""

    def __init__(self, contexts: Mapping[str, Context], mtime: int, threads: Executor) -> None:
        self._contexts = contexts
        self._mtime = mtime
        self._threads = threads

    async def diff_copy(self, call: Call) -> None:
        """One transfer of one context."""
        files = self._wanted(call)
        requests: asyncio.Queue[int | None] = asyncio.Queue(maxsize=len(files) + 1)
        async with asyncio.TaskGroup() as group:
            group.create_task(_read_requests(call, requests, len(files)))
            await self._send(call, _listing(files, self._mtime))
            await self._answer(call, requests, files)
            await call.write(framed(Packet(type=FIN)))

    def _wanted(self, call: Call) -> tuple[File, ...]:
        context = self._contexts.get(call.value("dir-name"), Context(()))
        # The engine first asks for the ignore file alone. It was applied here already, so it gets none.
        filters = call.values("followpaths") + call.values("include-patterns")
        only_ignore_file = bool(filters) and all(path.endswith(".dockerignore") for path in filters)
        return () if only_ignore_file else context.files

    async def _answer(self, call: Call, requests: asyncio.Queue[int | None], files: tuple[File, ...]) -> None:
        finished = False
        while not finished:
            wanted = [await requests.get()]
            while not requests.empty() and len(wanted) < _REQUESTS_AT_ONCE:
                wanted.append(requests.get_nowait())
            finished = wanted[-1] is None
            await self._send(call, _contents(files, [number for number in wanted if number is not None]))

    async def _send(self, call: Call, pieces: Iterator[bytes]) -> None:
        step: Callable[[], bytes] = _Batch(pieces).next
        while batch := await asyncio.get_running_loop().run_in_executor(self._threads, step):
            await call.write(batch)


class _Batch:
    """Joins pieces until they are worth a write."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def next(self) -> bytes:
        batch = bytearray()
        for piece in self._pieces:
            batch += piece
            if len(batch) >= _WRITE:
                break
        return bytes(batch)


async def _read_requests(call: Call, requests: asyncio.Queue[int | None], count: int) -> None:
    asked: set[int] = set()
    async for data in call:
        packet = Packet.FromString(data)
        if packet.type == FIN:
            break
        if packet.type != REQUEST or packet.id >= count or packet.id in asked:
            raise ValueError(f"packet {packet.type} for file {packet.id}")
        asked.add(packet.id)
        requests.put_nowait(packet.id)
    requests.put_nowait(None)


def _listing(files: Iterable[File], mtime: int) -> Iterator[bytes]:
    for file in files:
        stat = Stat(path=file.path, mode=file.mode, size=file.size, mod_time=mtime, linkname=file.target)
        yield framed(Packet(type=STAT, stat=stat))
    yield framed(Packet(type=STAT))


def _contents(files: tuple[File, ...], numbers: list[int]) -> Iterator[bytes]:
    for number in numbers:
        file = files[number]
        sent = 0
        for chunk in file.read() if file.read else ():
            sent += len(chunk)
            for at in range(0, len(chunk), _CHUNK):
                yield framed(Packet(type=DATA, id=number, data=chunk[at : at + _CHUNK]))
        if sent != file.size:
            raise ContextChangedError(f"{file.path} has {sent} bytes, listed were {file.size}")
        yield framed(Packet(type=DATA, id=number))
