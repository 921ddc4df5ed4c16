"""Swap, drain and hold: not one request fails, and each ends where it may."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import aiohttp
import aiohttp.web
from router_load import Load

from router.options import Limits

if TYPE_CHECKING:
    from tests.router.conftest import App, Request, World

LIMITS = Limits(sweep=0.05, linger=0.5, drain=5)


async def test_swaps_under_load_lose_nothing(world: World) -> None:
    """Twenty swaps; each old instance is stopped for good as soon as it is drained."""
    await world.launch(LIMITS, workers=2)
    current = await world.echo("v0", delay=0.005)
    await world.route(current.target())
    async with Load(world.router.port) as load:
        await world.eventually(lambda: "v0" in load.served)
        for n in range(1, 21):
            new = await world.echo(f"v{n}", delay=0.005)
            await world.route(new.target())
            assert await world.control.drained("a1", [current.name], 10)
            await current.stop()
            current = new
            before = load.done
            await world.eventually(lambda before=before: load.done > before + 10)  # type: ignore[misc]
    assert load.failures == []
    assert load.done > 200
    assert load.served == {f"v{n}" for n in range(21)}


async def test_an_old_keep_alive_connection_uses_the_new_instance_at_once(world: World) -> None:
    await world.launch(LIMITS)
    old, new = await world.echo("old"), await world.echo("new")
    await world.route(old.target())
    client = await world.client()
    assert (await client.get())[2].startswith(b"old")
    await world.route(new.target())
    assert (await client.get())[2].startswith(b"new")
    assert (old.connections, new.connections) == (1, 1)


async def test_drained_waits_for_the_old_request_and_no_longer(world: World) -> None:
    await world.launch(LIMITS, workers=2)
    release = asyncio.Event()

    async def answer(request: Request) -> None:
        await release.wait()
        await request.answer("old")

    old, new = await world.http("old", answer), await world.echo("new")
    await world.route(old.target())
    client = await world.client()
    client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    await world.eventually(lambda: old.connections == 1)
    await world.route(new.target())
    assert not await world.control.drained("a1", ["old"], 0.3)
    assert (await (await world.client()).get())[2].startswith(b"new")
    waiting = asyncio.create_task(world.control.drained("a1", ["old"], 10))
    release.set()
    assert (await client.answer())[2] == b"old"
    assert await waiting
    assert await world.control.drained("a1", ["never-known"], 5)


async def test_requests_spread_over_instances_by_how_busy_they_are(world: World) -> None:
    await world.launch(LIMITS)
    quick, slow = await world.echo("quick"), await world.echo("slow", delay=0.2)
    await world.route(quick.target("web.1"), slow.target("web.2"))

    names: list[bytes] = []

    async def ask() -> None:
        client = await world.client()
        while len(names) < 60:
            names.append((await client.get())[2][:4])

    await asyncio.gather(*(ask() for _ in range(4)))
    assert names.count(b"quic") > 2 * names.count(b"slow") > 0


async def test_a_websocket_lives_through_a_swap_until_its_own_limit(world: World) -> None:
    await world.launch(replace(LIMITS, tunnel_drain=1.0))
    app = await _websockets(world)
    await world.route(app.target())
    async with aiohttp.ClientSession(headers={"Host": "shop.localhost"}) as session:
        socket = await session.ws_connect(f"http://127.0.0.1:{world.router.port}/")
        await socket.send_str("before")
        assert await socket.receive_str(timeout=5) == "before"
        new = await world.echo("new")
        swapped = time.monotonic()
        await world.route(new.target())
        await socket.send_bytes(b"x" * 300_000)
        assert await socket.receive_bytes(timeout=5) == b"x" * 300_000
        assert (await (await world.client()).get())[2].startswith(b"new")
        assert not await world.control.drained("a1", ["ws"], 0.2)
        assert await world.control.drained("a1", ["ws"], 5)
        assert time.monotonic() - swapped >= 1.0
        async with asyncio.timeout(5):
            assert (await socket.receive()).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)


async def _websockets(world: World) -> App:
    """An aiohttp server that echoes, in the shape the other apps have."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))
        finally:
            inner_writer.close()

    async def echo(request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        socket = aiohttp.web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is aiohttp.WSMsgType.TEXT:
                await socket.send_str(message.data)
            else:
                await socket.send_bytes(message.data)
        return socket

    server = aiohttp.web.Server(echo)
    runner = aiohttp.web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    world._stack.push_async_callback(runner.cleanup)
    port: int = runner.addresses[0][1]
    return await world.app("ws", handle)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def test_held_requests_wait_and_then_go_to_the_new_instance(world: World) -> None:
    """Hand-over where two versions must not coexist: hold, stop the old one, start the new one, go on."""
    await world.launch(LIMITS, workers=2)
    old, new = await world.echo("old"), await world.echo("new")
    await world.route(old.target())
    async with Load(world.router.port) as load:
        await world.eventually(lambda: load.done > 20)
        await world.route(state="hold")
        assert await world.control.drained("a1", ["old"], 10)
        await old.stop()
        await asyncio.sleep(0.3)
        held = load.done
        await world.route(new.target())
        await world.eventually(lambda: load.done > held + 20)
    assert load.failures == []
    assert load.served == {"old", "new"}
    async with asyncio.timeout(5):
        event = await anext(world.control.events())
    assert (event.type, event.app_id) == ("wake", "a1")


async def test_a_hold_is_bounded_in_time_and_number(world: World) -> None:
    await world.launch(replace(LIMITS, hold=0.5, hold_requests=3))
    await world.route(state="hold")
    clients = [await world.client() for _ in range(5)]
    answers = await asyncio.gather(*(client.get() for client in clients))
    codes = sorted(headers["x-cygni-error"] for _, headers, _ in answers)
    assert codes == ["H11", "H11", "H20", "H20", "H20"]
    assert all(status == 503 and int(headers["retry-after"]) > 0 for status, headers, _ in answers)
    app = await world.echo("app")
    await world.route(app.target())
    assert (await clients[0].get())[0] == 200


async def test_a_client_that_leaves_while_held_is_forgotten(world: World) -> None:
    await world.launch(replace(LIMITS, hold_requests=1))
    await world.route(state="hold")
    first = await world.client()
    first.send("GET /first HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    async with asyncio.timeout(5):
        await anext(world.control.events())
    first.reset()
    assert "status=499" in await world.access_line(containing="code=H27")
    second = await world.client()
    second.send("GET /second HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    app = await world.echo("app")
    await asyncio.sleep(0.05)
    await world.route(app.target())
    assert (await second.answer())[2] == b"app GET /second HTTP/1.1\n"


async def test_a_refused_connection_is_retried_whatever_the_method(world: World) -> None:
    """Nothing has been sent to the instance that is gone: another one gets the request, body and all."""
    await world.launch(LIMITS)
    old, new = await world.echo("old"), await world.echo("new")
    await old.stop()
    await world.route(old.target("web.1"), new.target("web.2"))
    client = await world.client()
    for method in ("GET", "POST", "PATCH", "PUT") * 4:
        client.send(f"{method} / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 3\r\n\r\nabc")
        status, _, body = await client.answer()
        assert (status, body[-3:]) == (200, b"abc")
