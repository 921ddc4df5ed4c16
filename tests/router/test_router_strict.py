"""What must not reach an app: one table of raw requests, and a second opinion by another parser."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.body import ChunkedBody
from router.errors import RefusedError
from router.head import END, RequestHead, find_request_end, parse_request
from router.lines import LineTable
from router.options import Limits

if TYPE_CHECKING:
    from tests.router.conftest import Request, World

HOST: Final = "Host: shop.localhost\r\n"
GET: Final = f"GET / HTTP/1.1\r\n{HOST}"
POST: Final = f"POST / HTTP/1.1\r\n{HOST}"
SMUGGLED: Final = "GET /smuggled HTTP/1.1\r\nHost: shop.localhost\r\n\r\n"

REFUSED: Final = {
    "a body's rest before a method": (400, f"abcd{SMUGGLED}"),
    "a method in small letters": (400, f"get / HTTP/1.1\r\n{HOST}\r\n"),
    "length and coding": (
        400,
        f"{POST}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{SMUGGLED}",
    ),
    "coding and length": (
        400,
        f"{POST}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n{SMUGGLED}",
    ),
    "two lengths": (400, f"{POST}Content-Length: 0\r\nContent-Length: 60\r\n\r\n{SMUGGLED}"),
    "the same length twice": (400, f"{POST}Content-Length: 0\r\nContent-Length: 0\r\n\r\n"),
    "a list of lengths": (400, f"{POST}Content-Length: 0, 0\r\n\r\n"),
    "signed length": (400, f"{POST}Content-Length: +5\r\n\r\nhello"),
    "negative length": (400, f"{POST}Content-Length: -1\r\n\r\n"),
    "hexadecimal length": (400, f"{POST}Content-Length: 0x5\r\n\r\nhello"),
    "length with a space": (400, f"{POST}Content-Length: 1 0\r\n\r\n"),
    "empty length": (400, f"{POST}Content-Length:\r\n\r\n"),
    "huge length": (400, f"{POST}Content-Length: {'9' * 30}\r\n\r\n"),
    "length in other digits": (400, f"{POST}Content-Length: \xb2\r\n\r\nxx"),
    "unknown coding": (501, f"{POST}Transfer-Encoding: gzip\r\n\r\n"),
    "coding that merely ends in chunked": (501, f"{POST}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
    "two codings": (501, f"{POST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
    "chunked twice": (501, f"{POST}Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
    "identity": (501, f"{POST}Transfer-Encoding: identity\r\n\r\n"),
    "coding repeated": (
        400,
        f"{POST}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    "coding with a control byte": (400, f"{POST}Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    "space before the colon": (400, f"{POST}Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n{SMUGGLED}"),
    "tab before the colon": (400, f"{POST}Content-Length\t: 5\r\n\r\nhello"),
    "folded line": (400, f"{POST}Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n"),
    "leading space on the first header": (400, "GET / HTTP/1.1\r\n Host: shop.localhost\r\n\r\n"),
    "header without a colon": (400, f"{GET}nonsense\r\n\r\n"),
    "header without a name": (400, f"{GET}: x\r\n\r\n"),
    "bad byte in a name": (400, f"{GET}X(y): 1\r\n\r\n"),
    "NUL in a value": (400, f"{GET}X: a\0b\r\n\r\n"),
    "bare LF between lines": (400, "GET / HTTP/1.1\nHost: shop.localhost\n\n"),
    "bare LF in a header": (400, f"{GET}X: a\nTransfer-Encoding: chunked\r\n\r\n"),
    "bare CR in a header": (400, f"{GET}X: a\rb\r\n\r\n"),
    "CR CR LF": (400, f"{GET}X: a\r\r\n\r\n"),
    "no host": (400, "GET / HTTP/1.1\r\n\r\n"),
    "two hosts": (400, f"{GET}Host: other.localhost\r\n\r\n"),
    "host with a path": (400, "GET / HTTP/1.1\r\nHost: shop.localhost/evil\r\n\r\n"),
    "host with a user": (400, "GET / HTTP/1.1\r\nHost: a@shop.localhost\r\n\r\n"),
    "host list": (400, "GET / HTTP/1.1\r\nHost: shop.localhost, b\r\n\r\n"),
    "absolute target for another host": (400, f"GET http://blog.localhost/ HTTP/1.1\r\n{HOST}\r\n"),
    "target without a slash": (400, f"GET index.html HTTP/1.1\r\n{HOST}\r\n"),
    "target with a fragment": (400, f"GET /#x HTTP/1.1\r\n{HOST}\r\n"),
    "target with a control byte": (400, f"GET /\x01 HTTP/1.1\r\n{HOST}\r\n"),
    "two spaces": (400, f"GET  / HTTP/1.1\r\n{HOST}\r\n"),
    "space in the target": (400, f"GET /a b HTTP/1.1\r\n{HOST}\r\n"),
    "bad method": (400, f"G@T / HTTP/1.1\r\n{HOST}\r\n"),
    "connect": (501, f"CONNECT shop.localhost:443 HTTP/1.1\r\n{HOST}\r\n"),
    "HTTP/0.9": (400, "GET /\r\n\r\n"),
    "HTTP/2 in the clear": (505, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    "HTTP/1.2": (505, f"GET / HTTP/1.2\r\n{HOST}\r\n"),
    "RTSP": (505, f"GET / RTSP/1.0\r\n{HOST}\r\n"),
    "lower-case version": (400, f"GET / http/1.1\r\n{HOST}\r\n"),
    "HTTP/1.0 with chunked": (400, f"POST / HTTP/1.0\r\n{HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
    "TLS hello": (400, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\0\0\n\0\r\n\r\n"),
    "long target": (414, f"GET /{'a' * 9_000} HTTP/1.1\r\n{HOST}\r\n"),
    "endless target": (414, f"GET /{'a' * 20_000}"),
    "large header": (431, f"{GET}X: {'a' * 17_000}\r\n\r\n"),
    "endless headers": (431, GET + "X: a\r\n" * 5_000),
    "too many headers": (431, GET + "X: a\r\n" * 150 + "\r\n"),
}
BAD_CHUNKS: Final = {
    "size is not a number": "g\r\nhello\r\n0\r\n\r\n",
    "signed size": "+5\r\nhello\r\n0\r\n\r\n",
    "size with 0x": "0x5\r\nhello\r\n0\r\n\r\n",
    "size after a space": " 5\r\nhello\r\n0\r\n\r\n",
    "empty size": "\r\nhello\r\n0\r\n\r\n",
    "huge size": "fffffffffffffffff\r\nhello",
    "LF after the size": "5\nhello\r\n0\r\n\r\n",
    "LF in an extension": "5;a\nb\r\nhello\r\n0\r\n\r\n",
    "no CRLF after the data": "5\r\nhelloXX0\r\n\r\n",
    "LF after the data": "5\r\nhello\n0\r\n\r\n",
    "size too small": "4\r\nhello\r\n0\r\n\r\n",
    "long extension": f"5;{'a' * 2_000}\r\nhello\r\n0\r\n\r\n",
    "many extensions": f"1;{'a' * 900}\r\nx\r\n" * 30,
    "bad trailer": "0\r\nno colon\r\n\r\n",
    "long trailers": "0\r\n" + "T: " + "a" * 900 + "\r\n" + ("T: " + "a" * 900 + "\r\n") * 10,
}


async def test_no_doubtful_request_reaches_an_app_and_each_closes_its_connection(world: World) -> None:
    await world.launch()
    seen: list[str] = []

    async def answer(request: Request) -> None:
        seen.append(request.line)
        await request.answer(await request.body())

    await world.route((await world.http("app", answer)).target())
    wrong = []
    for name, (status, raw) in REFUSED.items():
        client = await world.client()
        client.send(raw)
        with contextlib.suppress(asyncio.IncompleteReadError, TimeoutError):
            got = (await client.answer())[0], await client.ended()
            if got == (status, True):
                continue
            wrong.append((name, got))
            continue
        wrong.append((name, (0, False)))
    assert wrong == []
    assert seen == []


async def test_no_doubtful_chunk_is_passed_on(world: World) -> None:
    """The request has begun by then: the app sees it cut short, and nothing after it."""
    await world.launch()
    bodies: list[bytes] = []

    async def answer(request: Request) -> None:
        bodies.append(await request.body())
        await request.answer("complete")

    await world.route((await world.http("app", answer)).target())
    wrong = []
    for name, chunks in BAD_CHUNKS.items():
        client = await world.client()
        client.send(f"{POST}Transfer-Encoding: chunked\r\n\r\n{chunks}")
        status = (await client.answer())[0]
        if status != 400 or not await client.ended():
            wrong.append((name, status))
    assert wrong == []
    assert bodies == []


async def test_odd_but_valid_requests_pass(world: World) -> None:
    await world.launch()
    await world.route((await world.echo("app")).target())
    for raw, line in (
        (f"\r\n{GET}\r\n", "GET / HTTP/1.1"),
        (f"GET http://shop.localhost/abs?x HTTP/1.1\r\n{HOST}\r\n", "GET /abs?x HTTP/1.1"),
        (f"GET http://shop.localhost HTTP/1.1\r\n{HOST}\r\n", "GET / HTTP/1.1"),
        (f"OPTIONS * HTTP/1.1\r\n{HOST}\r\n", "OPTIONS * HTTP/1.1"),
        (f"PROPFIND /x HTTP/1.1\r\n{HOST}\r\n", "PROPFIND /x HTTP/1.1"),
        (f"{GET}X:\r\nEmpty: \t \r\nUtf: \xc3\xa9\r\n\r\n", "GET / HTTP/1.1"),
        (f"{POST}transfer-ENCODING: \t Chunked \r\n\r\n0\r\n\r\n", "POST / HTTP/1.1"),
        ("GET / HTTP/1.1\r\nhost:shop.localhost\r\n\r\n", "GET / HTTP/1.1"),
    ):
        client = await world.client()
        client.send(raw)
        status, _, body = await client.answer()
        assert (status, body) == (200, f"app {line}\n".encode()), raw


class _Opinion:
    """llhttp's view of a request, through httptools."""

    def __init__(self, data: bytes) -> None:
        self.url = b""
        self.body = b""
        self.messages = 0
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.messages += 1


def _ours(data: bytes) -> tuple[RequestHead, bytes] | None:
    try:
        end = find_request_end(data, 0, Limits())
        if end < 0:
            return None
        return parse_request(data, 0, end, Limits()), data[end + len(END) :]
    except RefusedError:
        return None


_PIECES = st.sampled_from(
    [
        b"GET", b"POST", b" ", b"/", b"/a?b=c", b"*", b"http://h/", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.2", b"\r\n",
        b"\r\n", b"\r\n\r\n", b"\n", b"\r", b"\0", b"\t", b":", b": ", b"Host: h\r\n", b"Host: h", b"Content-Length",
        b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding", b"chunked", b",", b"3",
        b"abc", b"X-A: b\r\n", b"Connection: close\r\n", b"\xff", b"\x0b", b" x", b"_",
    ]
)  # fmt: skip


@settings(max_examples=1_500, deadline=None)
@given(st.lists(_PIECES, max_size=8), st.booleans())
def test_what_we_accept_llhttp_reads_alike(pieces: list[bytes], valid_start: bool) -> None:
    """An accepted head is accepted by a second parser too, with the same target and the same framing."""
    data = (b"GET / HTTP/1.1\r\nHost: h\r\n" if valid_start else b"") + b"".join(pieces) + b"\r\n\r\n"
    accepted = _ours(data)
    if accepted is None:
        return
    head, rest = accepted
    length = head.fields.length
    if length > len(rest) or length < 0 or head.fields.upgrade:
        return
    sent = data[: len(data) - len(rest) + length]
    opinion = _Opinion(sent)
    assert opinion.messages == 1
    assert opinion.body == rest[:length]
    assert opinion.url.endswith(head.target) or head.target == b"/"


@settings(max_examples=500, deadline=None)
@given(st.lists(st.binary(min_size=1, max_size=300), max_size=10), st.integers(1, 400))
def test_chunks_come_out_as_they_went_in_however_they_are_cut(parts: list[bytes], step: int) -> None:
    data = b"".join(b"%X;e=1\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\nT: x\r\n\r\nREST"
    body, content, rest = ChunkedBody(), b"", b""
    for at in range(0, len(data), step):
        piece, over = body.feed(data[at : at + step])
        content += piece
        if body.complete:
            rest = over + data[at + step :]
            break
    assert body.complete
    assert (content, rest) == (b"".join(parts), b"REST")


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_malformed_chunk_is_found_wherever_it_is_cut(cut: int) -> None:
    data = b"5\r\nhelloX\r\n0\r\n\r\n"
    body = ChunkedBody()
    with pytest.raises(RefusedError):
        for piece in (data[:cut], data[cut:]):
            body.feed(piece)


async def test_requests_and_answers_that_differ_little_are_not_taken_for_each_other(world: World) -> None:
    """Heads that repeat are remembered on a connection: by every byte, and for the method they answered."""
    await world.launch()
    seen: list[Request] = []

    async def answer(request: Request) -> None:
        seen.append(request)
        request.writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
        if not request.line.startswith("HEAD"):
            request.writer.write(b"ok")

    await world.route((await world.http("app", answer)).target())
    client = await world.client()
    for method, extra in (
        ("GET", "X: 1\r\n"), ("HEAD", "X: 1\r\n"), ("GET", "X: 1\r\n"), ("GET", "X: 2\r\n"), ("GET", "x: 1\r\n"),
        ("GET", ""), ("GET", "X: 1\r\nX: 1\r\n"), ("GET", "X: 1\r\nConnection: x\r\n"), ("GET", "X: 1\r\n"),
    ):  # fmt: skip
        client.send(f"{method} / HTTP/1.1\r\n{HOST}{extra}\r\n")
        status, _, body = await client.answer(bodyless=method == "HEAD")
        assert (status, body) == (200, b"" if method == "HEAD" else b"ok")
    counts = [[value for name, value in request.headers if name.lower() == "x"] for request in seen]
    assert counts == [["1"], ["1"], ["1"], ["2"], ["1"], [], ["1", "1"], [], ["1"]]
    client.send(f"GET / HTTP/1.0\r\n{HOST}X: 1\r\n\r\n")
    assert (await client.answer())[1]["connection"] == "close"
    assert await client.ended()
    assert len({request.header("x-request-id") for request in seen}) == len(seen)


def test_the_table_of_lines_is_bounded_and_never_wrong() -> None:
    table = LineTable((b"host",))
    for n in range(10_000):
        assert table[b"X-%d: y" % n] is None
        assert table[b"Host: a"] == (b"host", b"a")
        assert len(table) <= 4_096
    assert table[b"X: " + b"a" * 1_000] is None
    assert b"X: " + b"a" * 1_000 not in table
    for line in (b"Host : a", b" folded", b"no colon", b"a\nb: c", b"", b": x"):
        for _ in range(2):
            with pytest.raises(RefusedError):
                table[line]
