"""The control socket: who may use it, and what survives bad clients."""

import asyncio
import stat
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from cygni.commands import Ends
from cygni.control import (
    ERRORS,
    EXIT,
    INPUT,
    OUTPUT,
    ControlServer,
    NotServingError,
    call,
    read_frame,
    write_frame,
)


async def echo(words: Sequence[str], ends: Ends) -> int:
    """Writes its words and its input back; `hang` never ends, `exit N` ends with N."""
    if words[0] == "hang":
        await ends.err(b"hanging")
        await asyncio.Event().wait()
    if words[0] == "exit":
        return int(words[1])
    await ends.err(" ".join(words).encode())
    while data := await ends.read(7):
        await ends.out(data)
    return 0


@asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Path]:
    server = ControlServer(path, echo)
    await server.start()
    try:
        yield path
    finally:
        await server.close()


async def converse(path: Path, line: bytes, *frames: bytes) -> list[tuple[int, bytes]]:
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(line)
    for frame in frames:
        await write_frame(writer, INPUT, frame)
    answers = []
    async with asyncio.timeout(5):
        while (answer := await read_frame(reader))[0] != INPUT:
            answers.append(answer)
    writer.close()
    await writer.wait_closed()
    return answers


async def test_output_errors_and_exit_code_come_back_in_order(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as path:
        answers = await converse(path, b'{"words": ["say", "hi"]}\n', b"one two three", b"")
    assert answers[0] == (ERRORS, b"say hi")
    assert b"".join(data for kind, data in answers if kind == OUTPUT) == b"one two three"
    assert answers[-1] == (EXIT, b"\0")


async def test_the_exit_code_is_the_commands(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as path:
        assert await converse(path, b'{"words": ["exit", "3"]}\n') == [(EXIT, b"\3")]


async def test_only_the_owner_may_connect(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as path:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("line", [b"\n", b"not json\n", b"[]\n", b'{"words": 3}\n', b""])
async def test_a_broken_hello_ends_only_its_own_connection(tmp_path: Path, line: bytes) -> None:
    async with serving(tmp_path / "s") as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(line)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
        await writer.wait_closed()
        assert await converse(path, b'{"words": ["exit", "0"]}\n') == [(EXIT, b"\0")]


async def test_closing_the_server_ends_running_commands(tmp_path: Path) -> None:
    async with serving(tmp_path / "s") as path:
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b'{"words": ["hang", "up"]}\n')
        assert await asyncio.wait_for(read_frame(reader), 5) == (ERRORS, b"hanging")
    assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
    await writer.wait_closed()


async def test_a_socket_that_a_killed_server_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "s").touch()
    async with serving(tmp_path / "s") as path:
        assert await converse(path, b'{"words": ["exit", "0"]}\n') == [(EXIT, b"\0")]


async def test_without_a_server_the_caller_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotServingError):
        await call(tmp_path / "absent", ["help"])
