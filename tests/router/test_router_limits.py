"""What one address, one instance and one queue may have at most."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from router.options import Limits

if TYPE_CHECKING:
    from tests.router.conftest import Request, World


async def test_an_address_has_so_many_connections_and_a_proxy_as_many_as_it_likes(world: World) -> None:
    await world.launch(Limits(sweep=0.05, address_connections=2))
    await world.route((await world.echo("app")).target())
    first, second = await world.client(), await world.client()
    assert (await first.get())[0] == 200
    assert (await second.get())[0] == 200
    assert await (await world.client()).ended()
    await first.close()
    async with asyncio.timeout(5):
        while True:
            again = await world.client()
            again.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
            try:
                assert (await again.answer())[0] == 200
                break
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)
    assert (await second.get())[0] == 200


async def test_a_trusted_proxy_has_no_limit_of_its_own(world: World) -> None:
    await world.launch(Limits(sweep=0.05, address_connections=1), trusted=("127.0.0.1",))
    await world.route((await world.echo("app")).target())
    for _ in range(3):
        assert (await (await world.client()).get())[0] == 200


async def test_requests_beyond_an_instances_limit_wait_their_turn_in_order(world: World) -> None:
    await world.launch(Limits(sweep=0.05, instance_requests=2, queue_requests=3, queue=5))
    running, most, served = 0, 0, []
    gate = asyncio.Semaphore(0)

    async def answer(request: Request) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await gate.acquire()
        served.append(request.path)
        running -= 1
        await request.answer("ok")

    await world.route((await world.http("app", answer)).target())
    clients = []
    for n in range(5):
        client = await world.client()
        client.send(f"GET /{n} HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
        clients.append(client)
        await world.eventually(lambda n=n: running == min(n + 1, 2))  # type: ignore[misc]
        await (await world.client()).get("/", "nobody.localhost")  # answered after what was sent before it
    status, headers, _ = await (await world.client()).get("/extra")
    assert (status, headers["x-cygni-error"]) == (503, "H11")
    for _ in range(5):
        gate.release()
    for client in clients:
        assert (await client.answer())[0] == 200
    assert most == 2
    assert sorted(served) == [f"/{n}" for n in range(5)]
    line = await world.access_line(containing='path="/4"')
    assert " hold=" in line


async def test_who_waits_too_long_for_an_instance_is_told_so(world: World) -> None:
    await world.launch(Limits(sweep=0.05, instance_requests=1, queue=0.2))
    gate = asyncio.Event()

    async def answer(request: Request) -> None:
        await gate.wait()
        await request.answer("ok")

    app = await world.http("app", answer)
    await world.route(app.target())
    first = await world.client()
    first.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    await world.eventually(lambda: app.connections == 1)
    status, headers, _ = await (await world.client()).get()
    assert (status, headers["x-cygni-error"]) == (503, "H11")
    gate.set()
    assert (await first.answer())[0] == 200


async def test_who_waits_for_a_retired_instance_goes_to_its_successor(world: World) -> None:
    await world.launch(Limits(sweep=0.05, instance_requests=1, queue=10))
    gate = asyncio.Event()

    async def answer(request: Request) -> None:
        await gate.wait()
        await request.answer("old")

    old = await world.http("old", answer)
    await world.route(old.target())
    first, second = await world.client(), await world.client()
    first.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    await world.eventually(lambda: old.connections == 1)
    second.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    await (await world.client()).get("/", "nobody.localhost")
    await world.route((await world.echo("new")).target())
    assert (await second.answer())[2].startswith(b"new")
    gate.set()
    assert (await first.answer())[2] == b"old"


async def test_upgraded_connections_do_not_use_up_an_instances_requests(world: World) -> None:
    await world.launch(Limits(sweep=0.05, instance_requests=1, queue=0.2))

    async def answer(request: Request) -> None:
        if request.header("upgrade"):
            request.writer.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
        else:
            await request.answer("ok")

    await world.route((await world.http("app", answer)).target())
    sockets = [await world.client() for _ in range(3)]
    for socket in sockets:
        socket.send(
            "GET /ws HTTP/1.1\r\nHost: shop.localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert (await socket.head())[0] == 101
    assert (await (await world.client()).get())[0] == 200
