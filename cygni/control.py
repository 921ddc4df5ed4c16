"""The control socket: the server's own shell runs commands in the running server, as the state's owner.

One connection is one command. The client sends a JSON line `{"words": […]}`, then frames of input; the server
answers with frames of output and one of the exit code. A frame is a type byte, a length (4 bytes, big endian)
and that many bytes. A client's frame of length 0 is the end of its input.
"""

import asyncio
import json
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path

from cygni.commands import EXIT_FAILED, Ends

INPUT, OUTPUT, ERRORS, EXIT = range(4)
HEADER = struct.Struct("!BI")
CREDENTIALS = struct.Struct("3i")
FRAME_LIMIT = 1 << 20
HELLO_LIMIT = 10.0

Run = Callable[[Sequence[str], Ends], Awaitable[int]]


class NotServingError(Exception):
    """No server answers on the control socket."""


class _ServerEnds:
    """A command's ends on the server's side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = b""
        self._ended = False

    async def read(self, limit: int) -> bytes:
        if not self._rest and not self._ended:
            _, self._rest = await read_frame(self._reader)
            self._ended = not self._rest
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return data

    async def out(self, data: bytes) -> None:
        await write_frame(self._writer, OUTPUT, data)

    async def err(self, data: bytes) -> None:
        await write_frame(self._writer, ERRORS, data)


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Read one frame; an ended connection reads as an ended input."""
    try:
        kind, length = HEADER.unpack(await reader.readexactly(HEADER.size))
        if length > FRAME_LIMIT:
            return INPUT, b""
        return kind, await reader.readexactly(length)
    except (asyncio.IncompleteReadError, ConnectionError):
        return INPUT, b""


async def write_frame(writer: asyncio.StreamWriter, kind: int, data: bytes) -> None:
    """Write one frame and wait until the peer keeps up."""
    for start in range(0, max(len(data), 1), FRAME_LIMIT):
        piece = data[start : start + FRAME_LIMIT]
        writer.write(HEADER.pack(kind, len(piece)) + piece)
    await writer.drain()


class ControlServer:
    """Listens on a Unix socket that only the state's owner (and root) may use."""

    def __init__(self, path: Path, run: Run) -> None:
        self._path = path
        self._run = run
        self._server: asyncio.Server | None = None
        self._calls: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Start to listen; a socket that a killed server left is replaced."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening and end the running commands."""
        if self._server is None:
            return
        self._server.close()
        for call in self._calls:
            call.cancel()
        await asyncio.gather(*self._calls, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if _peer(writer) not in {0, os.getuid()}:
                return
            line = await asyncio.wait_for(reader.readline(), HELLO_LIMIT)
            words = [str(word) for word in json.loads(line)["words"]] or ["help"]
            code = await self._run(words, _ServerEnds(reader, writer))
            await write_frame(writer, EXIT, bytes([code & 0xFF]))
        except (ValueError, KeyError, TypeError, TimeoutError, ConnectionError):
            return
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def _peer(writer: asyncio.StreamWriter) -> int:
    """The user id at the other end (SO_PEERCRED, unix(7))."""
    sock: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return int(uid)


async def call(path: Path, words: Sequence[str]) -> int:
    """Run a command in the server behind `path`, joined to this process's standard streams.

    Raises:
        NotServingError: nobody listens there.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionError, PermissionError) as error:
        raise NotServingError(str(error)) from None
    try:
        writer.write(json.dumps({"words": list(words)}).encode() + b"\n")
        feed = asyncio.create_task(_feed_input(writer))
        try:
            return await _show(reader)
        finally:
            feed.cancel()
            await asyncio.gather(feed, return_exceptions=True)
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _feed_input(writer: asyncio.StreamWriter) -> None:
    if sys.stdin.isatty():
        await _feed_terminal(writer, sys.stdin.fileno())
        return
    while data := await asyncio.to_thread(os.read, sys.stdin.fileno(), 65536):
        await write_frame(writer, INPUT, data)
    await write_frame(writer, INPUT, b"")


async def _feed_terminal(writer: asyncio.StreamWriter, terminal: int) -> None:
    """Pass typed lines on without a thread: one that waits for a key would keep this process from ending."""
    loop = asyncio.get_running_loop()
    typed: asyncio.Queue[bytes] = asyncio.Queue()
    # Read where the loop says that it will not block, and nowhere else.
    loop.add_reader(terminal, lambda: typed.put_nowait(os.read(terminal, 65536)))
    try:
        while data := await typed.get():
            await write_frame(writer, INPUT, data)
        await write_frame(writer, INPUT, b"")
    finally:
        loop.remove_reader(terminal)


async def _show(reader: asyncio.StreamReader) -> int:
    streams = {OUTPUT: sys.stdout.buffer, ERRORS: sys.stderr.buffer}
    while True:
        kind, data = await read_frame(reader)
        if kind == EXIT:
            return data[0]
        if kind == INPUT:  # the connection ended before the exit code came
            return EXIT_FAILED
        streams[kind].write(data)
        streams[kind].flush()
