"""Slow peers hold only their own bounded buffers."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from router.options import Limits

if TYPE_CHECKING:
    from tests.router.conftest import Request, World

LIMITS = Limits(sweep=0.05, linger=0.5)
SIZE = 200 << 20
GROWTH = 12 << 20


async def test_a_client_that_does_not_read_holds_the_app_back(world: World) -> None:
    router = await world.launch(LIMITS)
    sent = 0

    async def answer(request: Request) -> None:
        nonlocal sent
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % SIZE)
        while sent < SIZE:
            request.writer.write(bytes(1 << 18))
            await request.writer.drain()
            sent += 1 << 18

    await world.route((await world.http("app", answer)).target())
    (pid,) = router.worker_pids()
    before = world.rss(pid)
    sock = socket.socket()
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", router.port))
    await asyncio.get_running_loop().sock_sendall(sock, b"GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    last = -1
    while last != sent:
        last = sent
        await asyncio.sleep(0.3)
    assert 0 < sent < SIZE // 4, "what the kernel's buffers take"
    assert world.rss(pid) - before < GROWTH
    received = 0
    async with asyncio.timeout(30):
        while received < SIZE:
            received += len(await asyncio.get_running_loop().sock_recv(sock, 1 << 20))
    sock.close()
    assert world.rss(pid) - before < GROWTH


async def test_an_app_that_does_not_read_holds_the_client_back(world: World) -> None:
    router = await world.launch(LIMITS)
    go, received = asyncio.Event(), 0

    async def answer(request: Request) -> None:
        nonlocal received
        await go.wait()
        while received < SIZE:
            data = await request.reader.read(1 << 20)
            received += len(data)
        await request.answer("done")

    await world.route((await world.http("app", answer)).target())
    (pid,) = router.worker_pids()
    before = world.rss(pid)
    client = await world.client()
    client.send(f"POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: {SIZE}\r\n\r\n")
    sent = 0

    async def upload() -> None:
        nonlocal sent
        while sent < SIZE:
            client.send(bytes(1 << 18))
            await client.writer.drain()
            sent += 1 << 18

    uploading = asyncio.create_task(upload())
    last = -1
    while last != sent:
        last = sent
        await asyncio.sleep(0.3)
    assert 0 < sent < SIZE // 4
    assert world.rss(pid) - before < GROWTH
    go.set()
    await uploading
    assert (await client.answer())[2] == b"done"
    assert received == SIZE
    assert world.rss(pid) - before < GROWTH


async def test_pipelined_input_waits_outside_the_process(world: World) -> None:
    """A client that sends requests and never reads: neither input nor answers pile up."""
    router = await world.launch(LIMITS)
    client = await world.client()
    assert (await client.get("/", "nobody.localhost"))[0] == 404
    (pid,) = router.worker_pids()
    before = world.rss(pid)
    request = b"GET / HTTP/1.1\r\nHost: nobody.localhost\r\n\r\n"

    async def flood() -> None:
        while True:
            client.send(request * 5_000)
            await client.writer.drain()

    flooding = asyncio.create_task(flood())
    await asyncio.sleep(1.5)
    assert world.rss(pid) - before < GROWTH
    flooding.cancel()
    await asyncio.gather(flooding, return_exceptions=True)
    client.writer.transport.abort()
    other = await world.client()
    assert (await other.get("/", "nobody.localhost"))[0] == 404
