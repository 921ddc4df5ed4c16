"""What passes through: framing, headers, streaming, interim answers, upgrades, error codes."""

from __future__ import annotations

import asyncio
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import pytest

from router.options import Limits

if TYPE_CHECKING:
    from router.table import RouteState
    from tests.router.conftest import Request, World

LIMITS = Limits(sweep=0.05, linger=0.5)


async def test_a_request_reaches_the_app_of_its_host_whatever_port_case_or_dot(world: World) -> None:
    await world.launch()
    shop, blog = await world.echo("shop"), await world.echo("blog")
    await world.route(shop.target())
    await world.route(blog.target(), app_id="b1", hosts=("blog.localhost", "*.blog.test"))
    client = await world.client()
    for host, name in (
        ("shop.localhost", b"shop"),
        ("SHOP.localhost:8080", b"shop"),
        ("shop.localhost.", b"shop"),
        ("blog.localhost", b"blog"),
        ("x.blog.test", b"blog"),
    ):
        status, _, body = await client.get("/a?b=1", host)
        assert (status, body) == (200, name + b" GET /a?b=1 HTTP/1.1\n")
    status, headers, body = await client.get("/", "other.localhost")
    assert status == 404
    assert b"other.localhost" in body
    assert headers["connection"] == "keep-alive"


async def test_the_app_is_told_the_truth_about_the_client(world: World) -> None:
    """Forwarding fields of a client are replaced, also under names that only differ by an underscore."""
    await world.launch()
    seen: list[Request] = []

    async def answer(request: Request) -> None:
        seen.append(request)
        await request.answer("")

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    client.send(
        "GET / HTTP/1.1\r\nHost: shop.localhost:81\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n"
        "X-Forwarded-Proto: https\r\nForwarded: for=6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nProxy: evil\r\n"
        "X-Request-Start: 1\r\nX-Custom: kept\r\nConnection: x-secret, x-forwarded-for\r\nX-Secret: hop\r\n"
        "Keep-Alive: 5\r\nTE: trailers\r\nX-Request-Id: abcdefgh-12345678\r\n\r\n"
    )
    assert (await client.answer())[0] == 200
    request = seen[0]
    assert b"6.6.6.6" not in request.raw
    assert b"evil" not in request.raw
    assert request.header("x-forwarded-for") == "127.0.0.1"
    assert request.header("x-forwarded-proto") == "http"
    assert request.header("x-forwarded-port") == str(world.router.port)
    assert request.header("x-forwarded-host") == request.header("host") == "shop.localhost:81"
    assert request.header("x-request-id") == "abcdefgh-12345678"
    assert int(request.header("x-request-start") or 0) > 1_600_000_000_000
    assert request.header("via") == "1.1 cygni"
    assert request.header("x-custom") == "kept"
    for name in ("x-secret", "te", "keep-alive", "connection"):
        assert request.header(name) is None
    client.send('GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Request-Id: no "good" id\r\n\r\n')
    await client.answer()
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", seen[1].header("x-request-id") or "")


async def test_a_configured_proxy_is_believed(world: World) -> None:
    await world.launch(trusted=("127.0.0.0/8",))
    seen: list[Request] = []

    async def answer(request: Request) -> None:
        seen.append(request)
        await request.answer("")

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    client.send(
        "GET / HTTP/1.1\r\nHost: shop.localhost\r\nX-Forwarded-For: 9.9.9.9\r\nX-Forwarded-Proto: https\r\n\r\n"
    )
    await client.answer()
    assert seen[0].header("x-forwarded-for") == "9.9.9.9, 127.0.0.1"
    assert seen[0].header("x-forwarded-proto") == "https"
    assert 'fwd="9.9.9.9, 127.0.0.1"' in await world.access_line()


async def test_pipelined_requests_are_answered_in_order(world: World) -> None:
    """Also with bodies between them, and more of them than fit into one buffer."""
    await world.launch()
    await world.route((await world.echo("app")).target())
    client = await world.client()
    count = 2_000
    for n in range(count):
        body = f"body-{n}"
        client.send(
            f"POST /{n} HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        )
    for n in range(count):
        status, _, answer = await client.answer()
        assert status == 200
        assert answer == f"app POST /{n} HTTP/1.1\nbody-{n}".encode()


async def test_a_request_may_arrive_in_pieces_of_any_size(world: World) -> None:
    await world.launch()
    await world.route((await world.echo("app")).target())
    data = (
        b"POST /c HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"5;ext=1\r\nhello\r\n1\r\n \r\n00A\r\n0123456789\r\n0\r\nTrailer: dropped\r\n\r\n"
        b"GET /next HTTP/1.1\r\nHost: shop.localhost\r\n\r\n"
    )
    for step in (1, 7, 100_000):
        client = await world.client()
        for at in range(0, len(data), step):
            client.send(data[at : at + step])
            await client.writer.drain()
            await asyncio.sleep(0)
        assert (await client.answer())[2] == b"app POST /c HTTP/1.1\nhello 0123456789"
        assert (await client.answer())[2] == b"app GET /next HTTP/1.1\n"


ANSWERS: Final = (
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n", b"abcde"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n1\r\na\r\n0\r\n\r\n", b"a"),
    (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
    (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx", b"x"),
)


async def test_answers_keep_their_content_in_every_framing(world: World) -> None:
    """The client's connection stays usable, whatever the app does with its own."""
    await world.launch()
    client = await world.client()
    for n, (said, body) in enumerate(ANSWERS):
        await world.route((await world.says(f"app{n}", said)).target())
        for _ in range(2):
            status, headers, got = await client.get()
            if status == 103:
                assert headers["link"] == "x"
                status, headers, got = await client.answer()
            assert (status, got) == (200, body)
            assert headers["via"] == "1.1 cygni"


async def test_answers_without_a_body_do_not_confuse_the_connection(world: World) -> None:
    await world.launch()

    async def answer(request: Request) -> None:
        if request.path == "/204":
            request.writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        elif request.path == "/304":
            request.writer.write(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 10\r\n\r\n")
        elif request.line.startswith("HEAD"):
            request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n")
        else:
            await request.answer("end")

    app = await world.http("app", answer)
    await world.route(app.target())
    client = await world.client()
    client.send("HEAD / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    status, headers, _ = await client.answer(bodyless=True)
    assert (status, headers["content-length"]) == (200, "999")
    assert (await client.get("/204"))[0] == 204
    assert (await client.get("/304"))[0] == 304
    assert (await client.get("/"))[2] == b"end"
    assert app.connections == 1


async def test_http_1_0_clients_get_no_chunks_and_keep_alive_only_on_request(world: World) -> None:
    await world.launch()
    said = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    await world.route((await world.says("app", said)).target())
    await world.route((await world.echo("b")).target(), app_id="b", hosts=("b.localhost",))
    old = await world.client()
    old.send("GET / HTTP/1.0\r\nHost: shop.localhost\r\n\r\n")
    status, headers, body = await old.answer()
    assert (status, body) == (200, b"abc")
    assert "transfer-encoding" not in headers
    kept = await world.client()
    for _ in range(2):
        kept.send("GET / HTTP/1.0\r\nHost: b.localhost\r\nConnection: keep-alive\r\n\r\n")
        status, headers, _ = await kept.answer()
        assert (status, headers["connection"]) == (200, "keep-alive")
    kept.send("GET / HTTP/1.0\r\nHost: b.localhost\r\n\r\n")
    assert (await kept.answer())[1]["connection"] == "close"
    assert await kept.ended()


async def test_expect_100_continue_is_the_apps_to_answer(world: World) -> None:
    await world.launch()

    async def answer(request: Request) -> None:
        if request.path == "/no":
            await request.answer("too big", status="413 Content Too Large", extra="Connection: close\r\n")
            return
        assert request.header("expect") == "100-continue"
        request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await request.answer(await request.body())

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    head = "Host: shop.localhost\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    client.send(f"PUT /yes HTTP/1.1\r\n{head}")
    assert (await client.head())[0] == 100
    client.send("12345")
    assert (await client.answer())[2] == b"12345"
    client.send(f"PUT /no HTTP/1.1\r\n{head}")
    status, headers, _ = await client.answer()
    assert (status, headers["connection"]) == (413, "close")
    assert await client.ended()


async def test_an_early_answer_reaches_a_client_that_is_still_sending(world: World) -> None:
    await world.launch()

    async def answer(request: Request) -> None:
        await request.answer("no", status="403 Forbidden", extra="Connection: close\r\n")
        raise ConnectionAbortedError

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    client.send("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 100000000\r\n\r\n")
    client.send(bytes(200_000))
    status, headers, body = await client.answer()
    assert (status, headers["connection"], body) == (403, "close", b"no")


async def test_events_pass_as_they_come(world: World) -> None:
    """Server-sent events: each piece arrives before the next one is made."""
    await world.launch()
    asked = asyncio.Queue[None]()

    async def answer(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        for n in range(3):
            await asked.get()
            request.writer.write(b"data: %d\n\n" % n)
        raise ConnectionAbortedError

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    assert (await client.head())[1]["transfer-encoding"] == "chunked"
    for n in range(3):
        asked.put_nowait(None)
        async with asyncio.timeout(5):
            assert await client.reader.readuntil(b"\n\n\r\n") == b"9\r\ndata: %d\n\n\r\n" % n
    assert await client.reader.readexactly(5) == b"0\r\n\r\n"


async def test_a_client_that_ends_its_side_still_gets_its_answer(world: World) -> None:
    await world.launch()
    await world.route((await world.echo("app", delay=0.2)).target())
    client = await world.client()
    client.send("GET /half HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    client.writer.write_eof()
    assert (await client.answer())[2] == b"app GET /half HTTP/1.1\n"
    assert await client.ended()


async def test_an_upgraded_connection_passes_bytes_both_ways_and_half_closes(world: World) -> None:
    await world.launch()

    async def answer(request: Request) -> None:
        assert request.header("upgrade") == "websocket"
        assert request.header("connection") == "Upgrade"
        request.writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nfirst"
        )
        while data := await request.reader.read(65_536):
            request.writer.write(data)
            await request.writer.drain()
        request.writer.write(b"bye")
        await request.writer.drain()
        raise ConnectionAbortedError

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    client.send(
        "GET /ws HTTP/1.1\r\nHost: shop.localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n"
    )
    status, headers = await client.head()
    assert (status, headers["upgrade"], headers["connection"]) == (101, "websocket", "Upgrade")
    assert await client.reader.readexactly(5) == b"first"
    blob = bytes(range(256)) * 4_096
    client.send(blob)
    async with asyncio.timeout(10):
        assert await client.reader.readexactly(len(blob)) == blob
        client.writer.write_eof()
        assert await client.reader.read() == b"bye"
    assert "status=101" in await world.access_line()


async def test_an_upgrade_to_another_http_is_not_passed_on(world: World) -> None:
    await world.launch()
    seen: list[Request] = []

    async def answer(request: Request) -> None:
        seen.append(request)
        await request.answer("plain")

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    client.send(
        "GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        "HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n\r\n"
    )
    assert (await client.answer())[2] == b"plain"
    assert b"h2c" not in seen[0].raw
    assert b"settings" not in seen[0].raw.lower()


BROKEN: Final = (
    (b"", "H13"),
    (b"HTTP/1.1 200 OK\r\nContent-Le", "H13"),
    (b"nonsense\r\n\r\n", "H17"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", "H17"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "H17"),
    (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "H17"),
    (b"HTTP/1.1 200 OK\r\nBad Name: x\r\n\r\n", "H17"),
    (b"HTTP/1.1 200 OK\r\n folded\r\n\r\n", "H17"),
    (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", "H17"),
    (b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n", "H17"),
)


async def test_a_broken_answer_becomes_a_page_with_its_code(world: World) -> None:
    await world.launch()
    client = await world.client()
    for n, (said, code) in enumerate(BROKEN):
        await world.route((await world.says(f"app{n}", said)).target())
        client.send(
            f"POST /{n} HTTP/1.1\r\nHost: shop.localhost\r\nAccept: text/html\r\nContent-Length: 0\r\n\r\n"
        )
        status, headers, body = await client.answer()
        assert (status, headers["x-cygni-error"]) == (503, code), said[:60]
        assert code.encode() in body
        assert headers["content-type"].startswith("text/html")
        assert f"at=error code={code} " in await world.access_line(containing=f'path="/{n}"')


async def test_an_answer_cut_short_is_seen_as_cut_short(world: World) -> None:
    await world.launch()
    await world.route(
        (await world.says("app", b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")).target()
    )
    client = await world.client()
    client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await client.answer()
    assert "code=H18" in await world.access_line()


async def test_an_app_without_instances_says_why(world: World) -> None:
    await world.launch()
    client = await world.client()
    states: tuple[tuple[RouteState, int, str], ...] = (
        ("stopped", 503, "H14"),
        ("none", 502, "H81"),
        ("live", 503, "H14"),
    )
    for state, status, code in states:
        await world.route(state=state)
        answer = await client.get(f"/{state}")
        assert (answer[0], answer[1]["x-cygni-error"]) == (status, code)
        assert answer[1]["content-type"].startswith("text/plain")
        assert f"code={code}" in await world.access_line(containing=f'path="/{state}"')


async def test_a_crashed_instance_is_skipped_reported_and_only_then_an_error(world: World) -> None:
    await world.launch()
    dead, alive = await world.echo("dead"), await world.echo("alive")
    await dead.stop()
    await world.route(dead.target("web.1"), alive.target("web.2"))
    client = await world.client()
    for _ in range(20):
        assert (await client.get())[0] == 200
    async with asyncio.timeout(5):
        event = await anext(world.control.events())
    assert (event.type, event.app_id) == ("ejected", "a1")
    await alive.stop()
    status, headers, _ = await client.get()
    assert (status, headers["x-cygni-error"]) == (503, "H10")


async def test_time_limits_have_their_own_codes(world: World) -> None:
    """H12: no answer. H15: the app stalls. H28: the client stalls. 408: slow headers. Idle: closed quietly."""
    await world.launch(replace(LIMITS, first_byte=0.3, idle=0.4, header_timeout=0.3, keep_alive=0.3))

    async def answer(request: Request) -> None:
        if request.path == "/stall":
            request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await asyncio.Event().wait()

    await world.route((await world.http("app", answer)).target())
    idle = await world.client()
    status, headers, _ = await (await world.client()).get()
    assert (status, headers["x-cygni-error"]) == (503, "H12")
    stalled = await world.client()
    stalled.send("GET /stall HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await stalled.answer()
    assert "status=200" in await world.access_line(containing="code=H15")
    slow = await world.client()
    slow.send("POST / HTTP/1.1\r\nHost: shop.localhost\r\nContent-Length: 10\r\n\r\nhalf")
    assert (await slow.answer())[0] == 408
    assert "code=H28" in await world.access_line(containing="code=H28")
    assert await idle.ended()


async def test_headers_that_drip_in_are_refused_in_time(world: World) -> None:
    await world.launch(replace(LIMITS, header_timeout=0.4))
    client = await world.client()
    started = asyncio.get_running_loop().time()
    for byte in "GET / HTTP/1.1\r\nHost: shop.localhost\r\nX: ":
        client.send(byte)
        await asyncio.sleep(0.01)
        if client.reader.at_eof():
            break
    assert (await client.answer())[0] == 408
    assert asyncio.get_running_loop().time() - started < 3


async def test_an_idle_connection_that_the_app_closed_costs_no_request(world: World) -> None:
    """The app closes right when the next request comes: what may be repeated is repeated once."""
    await world.launch()

    async def answer(request: Request) -> None:
        await request.answer("one")
        await request.reader.read(1)  # the next request begins: close without a byte
        raise ConnectionAbortedError

    app = await world.http("app", answer)
    await world.route(app.target())
    client = await world.client()
    for _ in range(10):
        assert (await client.get())[2] == b"one"
    assert app.connections == 10


async def test_the_access_line_cannot_be_forged(world: World) -> None:
    await world.launch()
    await world.route((await world.echo("app")).target())
    client = await world.client()
    client.send(b'GET /"%20at=info\\\xc3\xa9 HTTP/1.1\r\nHost: shop.localhost\r\n\r\n')
    await client.answer()
    line = await world.access_line()
    pattern = (
        r'at=info method=GET path="/%22%20at=info%5C%C3%A9" host=shop\.localhost request_id=\S+ fwd="127\.0\.0\.1" '
        r"dyno=web\.1 connect=\d+ms service=\d+ms status=200 bytes=\d+ protocol=http"
    )
    assert re.fullmatch(pattern, line), line
    assert set(world.control.last_requests) <= {"a1"}
    await world.eventually(lambda: "a1" in world.control.last_requests)


async def test_what_a_client_says_before_it_sees_the_upgrade_comes_first(world: World) -> None:
    await world.launch(LIMITS)

    async def answer(request: Request) -> None:
        request.writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
        request.writer.write(await request.reader.readexactly(11))

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\nearly-")
    assert (await client.head())[0] == 101
    client.send("later")
    async with asyncio.timeout(5):
        assert await client.reader.readexactly(11) == b"early-later"


async def test_trailers_pass_both_ways_except_those_that_come_too_late_to_be_true(world: World) -> None:
    await world.launch(LIMITS)
    received: list[bytes] = []

    async def answer(request: Request) -> None:
        received.append(await request.reader.readuntil(b"\r\n\r\n"))
        request.writer.write(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n"
            b"Grpc-Status: 0\r\nSet-Cookie: late=1\r\nServer-Timing: a\r\n\r\n"
        )

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    client.send(
        "POST / HTTP/1.1\r\nHost: shop.localhost\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n"
    )
    client.send("Digest: x\r\nContent-Length: 5\r\nX_Forwarded_For: 6.6.6.6\r\n\r\n")
    status, headers = await client.head()
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    wanted = b"2\r\nok\r\n0\r\nGrpc-Status: 0\r\nServer-Timing: a\r\n\r\n"
    async with asyncio.timeout(5):
        assert await client.reader.readexactly(len(wanted)) == wanted
    assert received == [b"2\r\nhi\r\n0\r\nDigest: x\r\n\r\n"]
    old = await world.client()
    received.clear()
    old.send("POST / HTTP/1.0\r\nHost: shop.localhost\r\nContent-Length: 4\r\n\r\n\r\n\r\n")
    assert (await old.answer())[2] == b"ok"
    assert await old.ended()
