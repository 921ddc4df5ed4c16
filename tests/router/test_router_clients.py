"""Real clients and what they expect: curl and aiohttp."""

from __future__ import annotations

import asyncio
import hashlib
from typing import TYPE_CHECKING

import aiohttp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.router.conftest import Request, World


async def curl(world: World, *arguments: str, path: str = "/") -> bytes:
    process = await asyncio.create_subprocess_exec(
        "curl", "-sS", "--max-time", "20", "--connect-to", f"shop.localhost:80:127.0.0.1:{world.router.port}",
        *arguments, f"http://shop.localhost{path}",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0
    return output


async def digests(world: World) -> None:
    async def answer(request: Request) -> None:
        if request.header("expect"):
            request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await request.body()
        await request.answer(f"{len(body)} {hashlib.sha256(body).hexdigest()}")

    await world.route((await world.http("app", answer)).target())


async def test_curl_uploads_in_every_way(world: World) -> None:
    await world.launch()
    await digests(world)
    data = bytes(range(256)) * 12_000
    file = world.folder / "upload"
    file.write_bytes(data)
    expected = f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode()
    assert await curl(world, "--data-binary", f"@{file}") == expected
    assert await curl(world, "-T", str(file)) == expected
    assert await curl(world, "-T", str(file), "-H", "Transfer-Encoding: chunked") == expected
    assert await curl(world, "--http1.0", "--data-binary", f"@{file}") == expected
    assert await curl(world, "-I") == await curl(world, "--head")
    assert b"X-Cygni-Error" not in await curl(world, "-I")


async def test_curl_reuses_its_connection(world: World) -> None:
    await world.launch()
    await world.route((await world.echo("app")).target())
    url = "http://shop.localhost/again"
    answer = await curl(world, "-w", "%{num_connects} ", url, url)
    assert answer.count(b"0 ") >= 2
    assert answer.count(b"app GET") == 3


async def test_aiohttp_streams_both_ways_at_once(world: World) -> None:
    """The app answers while the request still comes in."""
    await world.launch()

    async def answer(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while size := int(await request.reader.readuntil(b"\r\n"), 16):
            piece = await request.reader.readexactly(size + 2)
            request.writer.write(b"%x\r\n%b" % (size, piece))
            await request.writer.drain()
        request.writer.write(b"0\r\n\r\n")
        await request.reader.readexactly(2)

    await world.route((await world.http("app", answer)).target())
    turns = asyncio.Queue[bytes]()

    async def body() -> AsyncIterator[bytes]:
        for n in range(5):
            yield b"piece-%d" % n
            assert await turns.get() == b"piece-%d" % n

    async with (
        aiohttp.ClientSession(headers={"Host": "shop.localhost"}) as session,
        session.post(f"http://127.0.0.1:{world.router.port}/", data=body()) as response,
    ):
        async with asyncio.timeout(10):
            async for piece in response.content.iter_any():
                turns.put_nowait(piece)
    assert turns.empty()


async def test_many_aiohttp_requests_at_once_agree_with_the_app(world: World) -> None:
    await world.launch(workers=2)
    await digests(world)
    async with aiohttp.ClientSession(headers={"Host": "shop.localhost"}) as session:

        async def one(n: int) -> None:
            data = bytes([n % 256]) * (n * 997)
            async with session.post(f"http://127.0.0.1:{world.router.port}/", data=data) as response:
                assert await response.text() == f"{len(data)} {hashlib.sha256(data).hexdigest()}"

        await asyncio.gather(*(one(n) for n in range(200)))
