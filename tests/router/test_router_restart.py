"""The router is restarted twenty times under load: requests, downloads and upgraded connections lose nothing."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from router_load import Load

from router.options import Limits
from router.table import AppRoute

if TYPE_CHECKING:
    from tests.router.conftest import Request, World

RESTARTS = 20
LIMITS = Limits(sweep=0.05, drain=20, tunnel_drain=10, linger=0.5)
DOWNLOAD = 3 << 20


async def answer(request: Request) -> None:
    """Echo for POST and GET, a slow download, and an upgraded echo."""
    if request.header("upgrade"):
        request.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        while data := await request.reader.read(1_024):
            request.writer.write(data)
    elif request.path == "/download":
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % DOWNLOAD)
        for _ in range(DOWNLOAD >> 16):
            request.writer.write(bytes(1 << 16))
            await request.writer.drain()
            await asyncio.sleep(0.01)
    else:
        body = await request.body()
        await asyncio.sleep(0.005)
        await request.answer(b"app " + body)


async def download(world: World, counts: list[int]) -> None:
    while True:
        client = await world.client()
        status, _, body = await client.get("/download")
        assert (status, len(body)) == (200, DOWNLOAD)
        counts[0] += 1


async def talk(world: World, counts: list[int]) -> None:
    """Open an upgraded connection, say a little more each time, close; every word must come back."""
    while True:
        client = await world.client()
        client.send(
            "GET /ws HTTP/1.1\r\nHost: shop.localhost\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n"
        )
        assert (await client.head())[0] == 101
        for n in range(20):
            word = b"word-%04d" % n
            client.send(word)
            async with asyncio.timeout(10):
                assert await client.reader.readexactly(len(word)) == word
            await asyncio.sleep(0.01)
        await client.close()
        counts[1] += 1


@pytest.mark.timeout(240)
async def test_twenty_restarts_under_load_lose_nothing(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        old = await world.launch(LIMITS, workers=2, sockets=(listener.fileno(),))
        app = await world.http("app", answer)
        await world.control.synchronize([AppRoute("a1", "shop", ("shop.localhost",), (app.target(),))])
        counts = [0, 0]
        others = [asyncio.create_task(work(world, counts)) for work in (download, talk)]
        async with Load(world.router.port) as load:
            await world.eventually(lambda: load.done > 10)
            for _ in range(RESTARTS):
                new = await world.successor(sockets=(listener.fileno(),))
                assert await old.stop() == 0
                await world.eventually(lambda new=new: world.control.pid == new.process.pid)  # type: ignore[misc]
                old = new
                before = load.done
                await world.eventually(lambda before=before: load.done > before + 5)  # type: ignore[misc]
            await world.eventually(lambda: all(counts))
        for task in others:
            assert not task.done() or task.exception() is None
            task.cancel()
        results = await asyncio.gather(*others, return_exceptions=True)
    assert load.failures == []
    assert [result for result in results if not isinstance(result, asyncio.CancelledError)] == []
    assert load.done > 20 * RESTARTS


async def test_a_stopping_router_says_close_and_gives_an_idle_client_time_for_one_more_request(
    world: World,
) -> None:
    await world.launch(replace(LIMITS, tunnel_drain=0.5))
    await world.route((await world.echo("app")).target())
    kept = await world.client()
    assert (await kept.get())[0] == 200
    stopping = asyncio.create_task(world.router.stop())
    await asyncio.sleep(0.3)
    status, headers, _ = await kept.get("/last")
    assert (status, headers["connection"]) == (200, "close")
    assert await kept.ended()
    assert await stopping == 0


async def test_an_answer_that_began_before_the_stop_does_not_delay_it_once_it_has_ended(world: World) -> None:
    """Its head promised a kept connection, on which no further request may come."""
    await world.launch(LIMITS)
    go = asyncio.Event()

    async def slowly(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nha")
        await go.wait()
        request.writer.write(b"lf")

    await world.route((await world.http("app", slowly)).target())
    client = await world.client()
    client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    status, headers = await client.head()
    assert (status, "connection" in headers) == (200, False)
    began = asyncio.get_running_loop().time()
    stopping = asyncio.create_task(world.router.stop())
    await world.eventually(lambda: not world.router.worker_pids() or not _listens(world.router.port))
    go.set()
    assert await client.reader.readexactly(4) == b"half"
    assert await stopping == 0
    assert asyncio.get_running_loop().time() - began < LIMITS.drain / 2


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
