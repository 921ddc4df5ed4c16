"""The look at a booting instance that has no health path."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from deployer.manifest import Health
from deployer.ports import Address
from deployer.probe import greet, probe

HEALTH = Health(probe_timeout=0.5)
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def listening(serve: Serve) -> AsyncIterator[Address]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Address("127.0.0.1", server.sockets[0].getsockname()[1])


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.transport.abort()


async def stay_silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def answer_500(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readline()
    writer.write(b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize("serve", [hang_up, reset])
async def test_hanging_up_is_accepting_and_not_ready(serve: Serve) -> None:
    async with listening(serve) as address:
        seen = await greet(address, HEALTH, patience=0.5)
    assert (seen.ready, seen.accepted) == (False, True)
    assert "without an answer" in seen.text


async def slow_first_page(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(HEALTH.probe_timeout * 2)
    await answer_500(reader, writer)


@pytest.mark.parametrize("serve", [answer_500, slow_first_page])
async def test_any_answer_is_ready_however_slow(serve: Serve) -> None:
    async with listening(serve) as address:
        assert (await greet(address, HEALTH, patience=5)).ready


async def test_silence_is_accepting_and_not_ready() -> None:
    async with listening(stay_silent) as address:
        seen = await greet(address, HEALTH, patience=0.2)
    assert (seen.ready, seen.accepted) == (False, True)
    assert "GET / was not answered" in seen.text


async def test_nobody_there_is_not_ready() -> None:
    async with listening(hang_up) as address:
        pass
    seen = await greet(address, HEALTH, patience=0.5)
    assert (seen.ready, seen.accepted) == (False, False)


async def test_the_continuous_check_sends_no_request() -> None:
    got: list[bytes] = []

    async def record(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read())

    async with listening(record) as address:
        assert (await probe(address, HEALTH)).ready
    assert b"GET" not in b"".join(got)
