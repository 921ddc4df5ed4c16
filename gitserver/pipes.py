"""Pipes between the server and its children, with back-pressure and without threads."""

import asyncio
import contextlib
import fcntl
import os
from dataclasses import dataclass
from typing import cast

PIPE_BYTES = 256 * 1024
READ_LIMIT = 256 * 1024
_FIRST_SPARE_DESCRIPTOR = 10
_TAKEN = -1


class PipeWriter(asyncio.BaseProtocol):
    """The writing end of a pipe, with back-pressure."""

    def __init__(self) -> None:
        self._transport: asyncio.WriteTransport | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._lost = False
        self.broken = False
        """Whether the reader has gone before everything was read."""

    @classmethod
    async def connect(cls, descriptor: int) -> "PipeWriter":
        """Take over a descriptor, which is closed with the writer."""
        _, protocol = await asyncio.get_running_loop().connect_write_pipe(cls, os.fdopen(descriptor, "wb", 0))
        return protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember the transport (asyncio calls this)."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def pause_writing(self) -> None:
        """The pipe and its buffer are full (asyncio calls this)."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """There is room again (asyncio calls this)."""
        self._writable.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """No reader is left, or the pipe was closed (asyncio calls this)."""
        self._lost = True
        self.broken = self.broken or isinstance(exc, BrokenPipeError)
        self._writable.set()

    async def write(self, data: bytes) -> None:
        """Write, and wait while the pipe is full.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        if self._lost or self._transport is None or self._transport.is_closing():
            self.broken = True
            raise BrokenPipeError("the pipe is closed")
        self._transport.write(data)
        await self._writable.wait()

    def close(self) -> None:
        """Close the pipe after what was written has gone out."""
        if self._transport is not None and not self._lost:
            self._transport.close()

    def abort(self) -> None:
        """Close the pipe now."""
        if self._transport is not None and not self._lost:
            self._transport.abort()


@dataclass(frozen=True)
class PipeReader:
    """The reading end of a pipe."""

    stream: asyncio.StreamReader
    transport: asyncio.BaseTransport

    @classmethod
    async def connect(cls, descriptor: int) -> "PipeReader":
        """Take over a descriptor, which is closed with the reader."""
        stream = asyncio.StreamReader(limit=READ_LIMIT)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(stream), os.fdopen(descriptor, "rb", 0)
        )
        return cls(stream, transport)

    async def read(self, limit: int = READ_LIMIT) -> bytes:
        """Return up to `limit` bytes, empty at the end."""
        return await self.stream.read(limit)

    def close(self) -> None:
        """Close the pipe; what was not read is dropped."""
        self.transport.close()


class DescriptorPair:
    """A pipe. An end that is taken belongs to whoever took it; `close` closes the others."""

    def __init__(self) -> None:
        self.reading, self.writing = (_spare(end) for end in os.pipe())
        with contextlib.suppress(OSError):  # an unprivileged user may have used up its share of pipe pages
            fcntl.fcntl(self.writing, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def take_reading(self) -> int:
        """Give the reading end away."""
        taken, self.reading = self.reading, _TAKEN
        return taken

    def take_writing(self) -> int:
        """Give the writing end away."""
        taken, self.writing = self.writing, _TAKEN
        return taken

    def close(self) -> None:
        """Close what was not taken."""
        for descriptor in (self.take_reading(), self.take_writing()):
            if descriptor != _TAKEN:
                os.close(descriptor)


def _spare(descriptor: int) -> int:
    """Move a descriptor out of the range that children get, so that `dup2` never overwrites a source."""
    try:
        return int(fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, _FIRST_SPARE_DESCRIPTOR))
    finally:
        os.close(descriptor)
