"""The control socket: the server's own shell runs commands in the running server, as the state's owner.

One connection is one command. The client sends a JSON line `{"words": […]}`, with a `terminal` of kind, columns and
rows where it has one to give, then frames of input, new sizes and signals; the server answers with frames of output
and one of the exit code. A frame is a type byte, a length (4 bytes, big endian) and that many bytes. A client's frame
of input of length 0 is the end of its input. A client that closes its connection has left: its command is cancelled.
"""

import asyncio
import json
import os
import socket
import struct
import sys
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from config.client import terminal_kind
from cygni import local_terminal
from cygni.commands import EXIT_FAILED, Ends
from gitserver.ports import Terminal
from gitserver.terminal import TerminalState

INPUT, OUTPUT, ERRORS, EXIT, RESIZE, SIGNAL = range(6)
SIZE = struct.Struct("!HH")
HEADER = struct.Struct("!BI")
CREDENTIALS = struct.Struct("3i")
FRAME_LIMIT = 1 << 20
HELLO_LIMIT = 10.0
QUEUED_FRAMES = 16
EXIT_INTERRUPTED = 130

Run = Callable[[Sequence[str], Ends], Awaitable[int]]


class NotServingError(Exception):
    """No server answers on the control socket."""


class _ServerEnds:
    """A command's ends on the server's side of a connection. `pump` must run for anything to arrive."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._input: asyncio.Queue[bytes] = asyncio.Queue(QUEUED_FRAMES)
        self._rest = b""
        self._ended = False
        self.state = TerminalState()

    async def pump(self) -> None:
        """Take what the client sends; returns when it has left."""
        while True:
            try:
                kind, length = HEADER.unpack(await self._reader.readexactly(HEADER.size))
                data = await self._reader.readexactly(min(length, FRAME_LIMIT))
            except (asyncio.IncompleteReadError, ConnectionError):
                return
            await self._take(kind, data)

    async def _take(self, kind: int, data: bytes) -> None:
        if kind == RESIZE and len(data) == SIZE.size:
            self.state.resize(*SIZE.unpack(data))
        elif kind == SIGNAL:
            self.state.signal(data.decode(errors="replace"))
        elif kind == INPUT and not data:
            await self._input.put(b"")
        elif kind == INPUT:
            typed, ended = self.state.typed(data)
            for piece in [typed] * bool(typed) + [b""] * ended:
                await self._input.put(piece)

    async def read(self, limit: int) -> bytes:
        if not self._rest and not self._ended:
            self._rest = await self._input.get()
            self._ended = not self._rest
        data, self._rest = self._rest[:limit], self._rest[limit:]
        return data

    async def out(self, data: bytes) -> None:
        await write_frame(self._writer, OUTPUT, self.state.shown(data))

    async def err(self, data: bytes) -> None:
        await write_frame(self._writer, ERRORS, self.state.shown(data))

    @property
    def terminal(self) -> Terminal | None:
        return self.state.current

    def take_terminal(self) -> Terminal | None:
        return self.state.take()

    async def resized(self) -> Terminal:
        return await self.state.resized()

    async def signalled(self) -> str:
        return await self.state.signalled()


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
            hello = json.loads(line)
            words = [str(word) for word in hello["words"]] or ["help"]
            ends = _ServerEnds(reader, writer)
            if terminal := hello.get("terminal"):
                ends.state.grant(str(terminal["kind"]), int(terminal["columns"]), int(terminal["rows"]))
            code = await self._run_while_there(words, ends)
            await write_frame(writer, EXIT, bytes([code & 0xFF]))
        except (ValueError, KeyError, TypeError, TimeoutError, ConnectionError):
            return
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()

    async def _run_while_there(self, words: Sequence[str], ends: _ServerEnds) -> int:
        """Run a command; a client that leaves, or types Ctrl-C at one that left it the terminal, ends it."""
        command = asyncio.ensure_future(self._run(words, ends))
        helpers = {
            asyncio.ensure_future(ends.pump()),
            asyncio.ensure_future(ends.state.interrupted.wait()),
        }
        try:
            await asyncio.wait({command, *helpers}, return_when=asyncio.FIRST_COMPLETED)
            return command.result() if command.done() else EXIT_INTERRUPTED
        finally:
            for task in (command, *helpers):
                task.cancel()
            await asyncio.gather(command, *helpers, return_exceptions=True)


def _peer(writer: asyncio.StreamWriter) -> int:
    """The user id at the other end (SO_PEERCRED, unix(7))."""
    sock: socket.socket = writer.get_extra_info("socket")
    _, uid, _ = CREDENTIALS.unpack(sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size))
    return int(uid)


async def call(path: Path, words: Sequence[str], *, give_terminal: bool = False) -> int:
    """Run a command in the server behind `path`, joined to this process's standard streams.

    Args:
        path: the control socket.
        words: the command line.
        give_terminal: whether the command may take this process's terminal over, if it has one.

    Raises:
        NotServingError: nobody listens there.
    """
    try:
        reader, writer = await asyncio.open_unix_connection(path)
    except (FileNotFoundError, ConnectionError, PermissionError) as error:
        raise NotServingError(str(error)) from None
    try:
        if give_terminal and local_terminal.here():
            return await _call_with_terminal(reader, writer, words)
        writer.write(json.dumps({"words": list(words)}).encode() + b"\n")
        return await _converse(reader, _feed_input(writer))
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def _call_with_terminal(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, words: Sequence[str]
) -> int:
    columns, rows = local_terminal.size()
    terminal = {"kind": terminal_kind(), "columns": columns, "rows": rows}
    writer.write(json.dumps({"words": list(words), "terminal": terminal}).encode() + b"\n")
    with local_terminal.raw() as typed, local_terminal.resizes() as resized:
        window = _Window(writer, (columns, rows))
        return await _converse(reader, _feed_typed(writer, typed, window), _feed_sizes(window, resized))


class _Window:
    """Tells the server this terminal's size when it has changed."""

    def __init__(self, writer: asyncio.StreamWriter, told: tuple[int, int]) -> None:
        self._writer = writer
        self._told = told

    async def tell(self) -> None:
        size = local_terminal.size()
        if size != self._told:
            self._told = size
            await write_frame(self._writer, RESIZE, SIZE.pack(*size))


async def _converse(reader: asyncio.StreamReader, *feeds: Coroutine[Any, Any, None]) -> int:
    tasks = [asyncio.create_task(feed) for feed in feeds]
    try:
        return await _show(reader)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _feed_typed(writer: asyncio.StreamWriter, typed: "asyncio.Queue[bytes]", window: _Window) -> None:
    while True:
        data = await typed.get()
        await window.tell()  # what is typed into a window of a new size is read in it
        await write_frame(writer, INPUT, data)


async def _feed_sizes(window: _Window, resized: asyncio.Event) -> None:
    while True:
        await resized.wait()
        resized.clear()
        await window.tell()


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
