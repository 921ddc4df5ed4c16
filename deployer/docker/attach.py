"""Joins a caller to a process: an HTTP connection to the engine that is upgraded to a plain two-way stream.

The engine hands the connection over after its 101. Without a terminal its side of the stream comes in frames that say
whether they are standard output or standard error (Engine API, "Attach to a container"). No thread is involved.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deployer.docker.errors import GoneError
from deployer.ports import EngineError, Outcome, Stream

HANDSHAKE_SECONDS = 30.0
_CHUNK = 1 << 16
_FRAME = 8
_UPGRADED = (101, 200)  # engines before 1.8 said 200
_MISSING = 404
_ERROR_BYTES = 4096
_END_OF_INPUT = b"\x04"


@dataclass(frozen=True)
class Connection:
    """An upgraded connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def close(self) -> None:
        """Close it; the process behind goes on."""
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


async def upgrade(socket: Path, path: str, body: Mapping[str, Any] | None = None) -> Connection:
    """Ask the engine for a stream.

    Raises:
        EngineError: it refuses, or does not answer.
    """
    try:
        async with asyncio.timeout(HANDSHAKE_SECONDS):
            reader, writer = await asyncio.open_unix_connection(socket)
            try:
                writer.write(_request(path, body))
                await _accepted(reader)
            except BaseException:
                writer.close()
                raise
    except (OSError, asyncio.IncompleteReadError, ValueError, IndexError) as error:
        raise EngineError(f"the engine does not answer: {error}", transient=True) from error
    return Connection(reader, writer)


def _request(path: str, body: Mapping[str, Any] | None) -> bytes:
    content = json.dumps(body).encode() if body is not None else b""
    lines = (
        f"POST {path} HTTP/1.1",
        "Host: engine",
        "Connection: Upgrade",
        "Upgrade: tcp",
        "Content-Type: application/json",
        f"Content-Length: {len(content)}",
    )
    return "\r\n".join((*lines, "", "")).encode() + content


async def _accepted(reader: asyncio.StreamReader) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode(errors="replace")
    status = int(head.split(None, 2)[1])
    if status in _UPGRADED:
        return
    answer = await reader.read(_ERROR_BYTES)
    text = _message(answer) or head.partition("\r\n")[0]
    raise GoneError(text) if status == _MISSING else EngineError(text)


def _message(answer: bytes) -> str:
    start, end = answer.find(b"{"), answer.rfind(b"}")
    with suppress(ValueError, KeyError, TypeError):
        return str(json.loads(answer[start : end + 1])["message"])
    return ""


class Control(Protocol):
    """What can be done about the process at the other end besides talking to it."""

    async def resize(self, columns: int, rows: int) -> None:
        """Change its terminal's size."""

    async def signal(self, name: str) -> None:
        """Send it a signal."""

    async def outcome(self) -> Outcome:
        """Wait for its end."""
        ...

    async def end(self) -> None:
        """End it and remove what is left."""


class StreamAttachment:
    """Implements the Attachment port on an upgraded connection."""

    def __init__(self, connection: Connection, control: Control, *, terminal: bool) -> None:
        self._connection = connection
        self._control = control
        self._terminal = terminal
        self._input_ended = False

    async def read(self) -> tuple[Stream, bytes] | None:
        """Return the next piece of output, None at its end."""
        reader = self._connection.reader
        try:
            if self._terminal:
                data = await reader.read(_CHUNK)
                return ("stdout", data) if data else None
            header = await reader.readexactly(_FRAME)
            data = await reader.readexactly(int.from_bytes(header[4:], "big"))
        except (asyncio.IncompleteReadError, OSError):
            return None
        return ("stderr" if header[0] == 2 else "stdout"), data

    async def write(self, data: bytes) -> None:
        """Write to the process's input, waiting while it does not read."""
        if self._input_ended:
            return
        with suppress(OSError):
            self._connection.writer.write(data)
            await self._connection.writer.drain()

    async def write_eof(self) -> None:
        """End the process's input; with a terminal, type Ctrl-D."""
        if self._terminal:
            await self.write(_END_OF_INPUT)
            return
        self._input_ended = True
        with suppress(OSError, RuntimeError):
            self._connection.writer.write_eof()

    async def resize(self, columns: int, rows: int) -> None:
        """Change the terminal's size."""
        await self._control.resize(columns, rows)

    async def signal(self, name: str) -> None:
        """Send a signal, named without `SIG`."""
        await self._control.signal(name)

    async def wait(self) -> Outcome:
        """Return how the process ended."""
        return await self._control.outcome()

    async def end(self) -> None:
        """End the process and remove what there is to remove."""
        try:
            await self._control.end()
        finally:
            await self._connection.close()
