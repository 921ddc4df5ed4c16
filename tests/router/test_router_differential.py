"""Thousands of malformed and odd requests to this router, nginx and HAProxy; every difference has a reason.

What counts is what an app gets to see. Where the other two are missing (packages nginx-light and haproxy) only the
first half is checked: no request reaches an app that the router did not count.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import shutil
import socket
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

import pytest

from router.options import Limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.router.conftest import Request, World

HOST: Final = b"Host: shop.localhost\r\n"
SMUGGLED: Final = b"GET /smuggled HTTP/1.1\r\n" + HOST
REQUESTS: Final = int(os.environ.get("CYGNI_DIFFERENTIAL", "2500"))

METHODS: Final = [b"get", b"G T", b"", b"G\x00T", b"PROPFIND", b"G:T", b"\tGET", b"GET\t", b"HEAD"]
TARGETS: Final = [b"", b"x", b"//x", b"/a b", b"/a#b", b"/\x7f", b"/\xff", b"http://shop.localhost/x", b"http://other/x", b"*", b"/../x", b"/%00"]  # fmt: skip
VERSIONS: Final = [b"HTTP/1.0", b"HTTP/0.9", b"HTTP/2.0", b"HTTP/1.2", b"http/1.1", b"RTSP/1.0", b"HTTP/1.1 ", b"HTTP/11", b""]  # fmt: skip
ENDS: Final = [b"\n", b"\r", b"\r\r\n"]
FIELDS: Final = [
    b"X-A: b", b"X-A : b", b" X-A: b", b"X-A", b": b", b"X\x00A: b", b"X-A: b\x00", b"X-A: \x0bb", b"X-A: b\r\n folded",
    b"X-A: b\n c", b"X-A:\xe9", b"X A: b", b"X_A: b", b"Content-Length: 4", b"Content-Length: 4", b"Content-Length: +4",
    b"Content-Length: 4, 4", b"Content-Length: 0x4", b"Content-Length: -1", b"Content-Length:", b"Content-Length: 4 4",
    b"Content-Length : 4", b"Content_Length: 60", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: Chunked", b"Transfer-Encoding: gzip, chunked", b"Transfer-Encoding: chunked, chunked",
    b"Transfer-Encoding: xchunked", b"Transfer-Encoding:\x0bchunked", b"Transfer-Encoding : chunked",
    b"Transfer-Encoding: identity", b"Transfer_Encoding: chunked", b"Transfer-Encoding: chunked\r\n , gzip",
    b"Connection: close", b"Connection: Content-Length", b"Connection: Transfer-Encoding", b"Host: other",
    b"Host: shop.localhost", b"Host: a b", b"Host:", b"Expect: 100-continue", b"Upgrade: h2c", b"Trailer: X",
]  # fmt: skip
BODIES: Final = [
    b"", b"", b"abcd", b"abcd", b"0\r\n\r\n", b"4\r\nabcd\r\n0\r\n\r\n", b"4\nabcd\n0\n\n", b"4;x=\x00\r\nabcd\r\n0\r\n\r\n",
    b"4\r\nabcdXX0\r\n\r\n", b"0x4\r\nabcd\r\n0\r\n\r\n", b"+4\r\nabcd\r\n0\r\n\r\n", b"4 \r\nabcd\r\n0\r\n\r\n",
    b"fffffffffffffffff4\r\nabcd\r\n0\r\n\r\n", b"-4\r\nabcd\r\n0\r\n\r\n", b"0\r\nX: y\r\n\r\n", b"0\r\n\r\nabcd",
]  # fmt: skip


def odd_request(chance: random.Random, number: int) -> bytes:
    """A request of which mostly one or two things are odd, often with another one hidden behind its body."""
    mark = b"X-Number: %d" % number

    def usually(usual: bytes, odd: list[bytes], share: float = 0.93) -> bytes:
        return usual if chance.random() < share else chance.choice(odd)

    method, version = chance.choice([b"GET", b"POST"]), usually(b"HTTP/1.1", VERSIONS)
    lines = [b" ".join((usually(method, METHODS), usually(b"/x", TARGETS, 0.85), version))]
    lines += [HOST[:-2]] if chance.random() < 0.95 else []
    lines += [mark]
    lines += chance.sample(FIELDS, chance.choice((0, 1, 1, 1, 2, 2, 3)))
    head = b"".join(line + usually(b"\r\n", ENDS, 0.98) for line in lines)
    body = chance.choice(BODIES) + (SMUGGLED + mark + b"\r\n\r\n" if chance.random() < 0.5 else b"")
    return head + usually(b"\r\n", ENDS, 0.98) + body


class Recorder:
    """Apps, one behind each proxy, that note what reaches them by the number that each request carries."""

    def __init__(self) -> None:
        self.begun: Counter[str] = Counter()
        self.seen: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)

    async def answer(self, request: Request) -> None:
        self.begun[request.app] += 1
        body = await body_of(request)
        line = re.sub(r" HTTP/1\.[01]$", "", request.line)
        self.seen[request.app, request.header("x-number")].append(f"{line} {body!r}")
        await request.answer("seen")


async def body_of(request: Request) -> bytes:
    """Read a body, trailers included: the other proxies pass them on."""
    if request.header("transfer-encoding") != "chunked":
        return await request.body()
    pieces = []
    while size := int((await request.reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        pieces.append(await request.reader.readexactly(size + 2))
    while await request.reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return b"".join(piece[:-2] for piece in pieces)


async def say(port: int, data: bytes) -> None:
    """Say exactly `data` and wait for the end."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(data)
                writer.write_eof()
                await reader.read()
            finally:
                writer.transport.abort()


@contextlib.asynccontextmanager
async def program(*command: str, port: int) -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                assert process.returncode is None
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        await process.wait()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def nginx(folder: Path, app: int) -> AsyncIterator[int]:
    port, path = free_port(), folder / "nginx.conf"
    temporary = " ".join(
        f"{name}_temp_path {folder}/{name};" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    path.write_text(
        f"daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr crit; events {{}}\n"
        f"http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{port}; location / {{\n"
        f"proxy_pass http://127.0.0.1:{app}; proxy_http_version 1.1; proxy_set_header Host $host; proxy_ignore_client_abort on; }} }} }}\n"
    )
    async with program("nginx", "-c", str(path), "-e", "stderr", port=port):
        yield port


@contextlib.asynccontextmanager
async def haproxy(folder: Path, app: int) -> AsyncIterator[int]:
    port, path = free_port(), folder / "haproxy.cfg"
    path.write_text(
        f"defaults\n mode http\n timeout connect 2s\n timeout client 2s\n timeout server 2s\n"
        f"frontend f\n bind 127.0.0.1:{port}\n default_backend b\nbackend b\n server s 127.0.0.1:{app}\n"
    )
    async with program("haproxy", "-db", "-q", "-f", str(path), port=port):
        yield port


REASONS: Final = {
    "a line ends with a bare LF or CR": re.compile(rb"(?<!\r)\n|\r(?!\n)"),
    "a control byte": re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"),
    "the version is another one": re.compile(rb"^(?![^\r\n]* HTTP/1\.[01]\r)"),  # anchored: only of the first
    "the rest of a body reads as a method in small letters": re.compile(rb"[a-z]GET /smuggled"),
    "HTTP/1.0 without Host: no app is meant": re.compile(rb"(?s)^[^\r]* HTTP/1\.0\r\n(?!.*Host: )"),
    "a chunked body that only one of them reads, before a path that the other refuses": re.compile(
        rb"(?is)^\S+ /(?:%00|\.\./x) .*Transfer-Encoding: chunked"
    ),
}
"""Why this router refuses what another one passes on, or passes on what only one of them does."""

UNEXPLAINED: Final = "unexplained"
ANYWHERE: Final = tuple(REASONS)[:4]
"""Reasons that also hold for chunks; the others are looked for in the first head."""


async def test_every_request_that_reaches_an_app_was_counted_and_every_difference_has_a_reason(
    world: World, tmp_path: Path
) -> None:
    await world.launch(Limits(sweep=0.05, linger=0.1, header_timeout=1, idle=1, first_byte=1))
    recorder, chance = Recorder(), random.Random(20_261_125)
    app = await world.http("ours", recorder.answer)
    await world.route(app.target(), hosts=("shop.localhost", "other"))
    others = {name: start for name, start in (("nginx", nginx), ("haproxy", haproxy)) if shutil.which(name)}
    requests = {number: odd_request(chance, number) for number in range(REQUESTS)}
    async with contextlib.AsyncExitStack() as stack:
        ports, behind = {"ours": world.router.port}, []
        for name, start in others.items():
            behind.append(await world.http(name, recorder.answer))
            ports[name] = await stack.enter_async_context(start(tmp_path, behind[-1].port))
        for data in requests.values():
            await asyncio.gather(*(say(port, data) for port in ports.values()))
    await world.eventually(lambda: not any(app.tasks for app in behind))  # what was on the way has come
    ours = {number: recorder.seen["ours", str(number)] for number in requests}
    reached = sum(map(len, ours.values()))
    assert reached == sum(len(seen) for (name, _), seen in recorder.seen.items() if name == "ours")
    assert reached > REQUESTS // 5
    await counted(world, recorder.begun["ours"])
    if len(others) < 2:
        pytest.skip("nginx or haproxy is not installed: nothing to compare with")
    kinds: Counter[str] = Counter()
    unexplained = []
    for number, data in requests.items():
        theirs = {name: recorder.seen[name, str(number)] for name in others}
        kind = difference(data, ours[number], theirs)
        kinds[kind] += 1
        if kind == UNEXPLAINED:
            unexplained.append((data, ours[number], theirs))
    assert unexplained == [], kinds


def difference(data: bytes, ours: list[str], theirs: dict[str, list[str]]) -> str:
    """Say why; there is no reason for passing on what nobody else does."""
    if ours in theirs.values():
        return "alike"
    if ours and not any(theirs.values()):
        return UNEXPLAINED
    head = re.split(rb"\r?\n\r?\n", data)[0] + b"\r\n"
    parts = ((reason, pattern, data if reason in ANYWHERE else head) for reason, pattern in REASONS.items())
    return next((reason for reason, pattern, part in parts if pattern.search(part)), UNEXPLAINED)


async def counted(world: World, reached: int) -> None:
    """See an access line for each request that reached the app; a chosen instance may also never have got one."""
    lines = 0
    async with asyncio.timeout(10):
        async for line in world.control.access():
            lines += " dyno=web.1 " in line.text
            if lines >= reached:
                break
