"""Request and response heads: a strict grammar in place of a tolerant parser (RFC 9110, RFC 9112).

What the expressions do not match is refused, so bare CR or LF, folded lines, spaces before a colon, control
bytes and doubtful framing cannot pass. Field lines go on as the bytes they came as (see `lines`); the fields that
routing and framing depend on (`special`) are taken out and written anew.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import compress
from operator import not_
from typing import Final

from router.errors import RefusedError
from router.lines import LineTable
from router.options import Limits

END: Final = b"\r\n\r\n"

_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
_REQUEST_LINE = re.compile(rb"(" + _TOKEN + rb"{1,32}) ([\x21\x22\x24-\x7e\x80-\xff]+) HTTP/1\.([01])\r\n")
_ANY_REQUEST_LINE = re.compile(rb"[^ \r\n]+ [^ \r\n]+ [A-Z]+/[0-9]+(?:\.[0-9]+)?")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?")
_LONE = re.compile(rb"(?<!\r)\n|\r(?![\n])(?!\Z)|\x00")
_HOST = re.compile(rb"(?:[A-Za-z0-9._\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_LENGTH = re.compile(rb"[0-9]{1,18}")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE | re.DOTALL)

_HOP: Final = (
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
)
_REQUEST_SPECIAL: Final = frozenset(
    (
        *_HOP,
        b"host",
        b"content-length",
        b"expect",
        b"proxy",  # CGI programs take it for their own HTTP_PROXY
        b"proxy-authorization",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-port",
        b"x-forwarded-host",
        b"x-forwarded-server",
        b"x-forwarded-prefix",
        b"x-real-ip",
        b"x-request-id",
        b"x-request-start",
        b"http2-settings",
    )
)
_RESPONSE_SPECIAL: Final = frozenset((*_HOP, b"content-length", b"proxy-authenticate"))
_SINGLE: Final = frozenset((b"host", b"content-length", b"transfer-encoding"))
_REQUEST_LINES: Final = LineTable(_REQUEST_SPECIAL)
_RESPONSE_LINES: Final = LineTable(_RESPONSE_SPECIAL)
_RESPONSE_HEADERS: Final = 1_000
_STATUS_LINE_LIMIT: Final = 1_000
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()
_PLAIN_OPTIONS: Final = frozenset((b"close", b"keep-alive", b"upgrade"))


@dataclass(slots=True)
class RequestFields:
    """A request's version and fields: what requests on one connection mostly share."""

    raw: bytes
    minor: int
    host: bytes
    """As the client sent it, possibly empty."""
    lines: list[bytes]
    special: dict[bytes, bytes]
    length: int
    """Of the body; -1 for a chunked one."""
    keep_alive: bool
    upgrade: bytes
    """The protocol asked for, empty for none."""
    expects_continue: bool
    """Whether the client waits for an interim answer before it sends the body."""
    outgoing: bytes = b""
    """What an instance gets for them, once it has been written (see `forward`)."""


@dataclass(slots=True)
class RequestHead:
    """A request that may be passed on. `target` is in origin form."""

    method: bytes
    target: bytes
    fields: RequestFields


@dataclass(slots=True)
class ResponseHead:
    """An instance's answer. `length` is -1 for a chunked body, None for one that ends with the connection."""

    status: int
    line: bytes
    """The status line as it goes on, of HTTP/1.1 and without its CRLF."""
    lines: list[bytes]
    special: dict[bytes, bytes]
    length: int | None
    keep_alive: bool


def find_request_end(buffer: bytes, start: int, limits: Limits) -> int:
    """Return where the blank line of the head that begins at `start` begins, -1 when more must be read.

    Raises:
        RefusedError: the bytes so far can never become a request that is accepted.
    """
    end = buffer.find(END, start, start + limits.head_bytes)
    if end >= 0:
        return end
    if _LONE.search(buffer, start):
        raise RefusedError(400, "a line does not end with CRLF")
    if len(buffer) - start >= limits.head_bytes:
        first = buffer.find(b"\r\n", start)
        long_target = first < 0 or first - start > limits.target_bytes
        raise (
            RefusedError(414, "the target is too long")
            if long_target
            else RefusedError(431, "the headers are too large")
        )
    return end


def parse_request(
    buffer: bytes, start: int, end: int, limits: Limits, last: RequestFields | None = None
) -> RequestHead:
    """Read the head from `start` to `end` (see `find_request_end`).

    `last` are the fields of the connection's request before this one: the same bytes say the same again.

    Raises:
        RefusedError: it breaks the grammar, or its framing is not beyond doubt.
    """
    line = _REQUEST_LINE.match(buffer, start, end + 2)
    if line is None:
        raise _refuse_line(buffer[start:end])
    method, target, minor = line.groups()
    if len(target) > limits.target_bytes:
        raise RefusedError(414, "the target is too long")
    raw = buffer[line.start(3) : end]
    fields = last if last is not None and last.raw == raw else _read_fields(raw, minor == b"1", limits)
    if method == b"CONNECT":
        raise RefusedError(501, "CONNECT is not offered")
    if target[:1] == b"/" or (target == b"*" and method == b"OPTIONS"):
        return RequestHead(method, target, fields)
    return _from_absolute(method, target, fields)


def _read_fields(raw: bytes, http11: bool, limits: Limits) -> RequestFields:
    lines, special = _sort(raw.split(b"\r\n")[1:], _REQUEST_LINES, limits.headers)
    options = _connection_options(special)
    return RequestFields(
        raw=raw,
        minor=1 if http11 else 0,
        host=_host(special, http11),
        lines=_without(lines, options) if options else lines,
        special=special,
        length=_request_length(special, http11),
        keep_alive=b"close" not in options and (http11 or b"keep-alive" in options),
        upgrade=_upgrade(special, options) if http11 and b"upgrade" in options else b"",
        expects_continue=http11 and special.get(b"expect", b"").lower() == b"100-continue",
    )


def parse_response(buffer: bytes, end: int, *, bodyless: bool) -> ResponseHead:
    """Read an instance's head; `bodyless` says that the request was HEAD.

    Raises:
        RefusedError: an instance must not be believed (H17).
    """
    first, *fields = buffer[:end].split(b"\r\n")
    status, line, http11 = _status(first) if len(first) <= _STATUS_LINE_LIMIT else _status(b"")
    lines, special = _sort(fields, _RESPONSE_LINES, _RESPONSE_HEADERS)
    options = _connection_options(special)
    keep_alive = b"close" not in options and (http11 or b"keep-alive" in options)
    length = _response_length(special, http11)
    if length == -1 and b"content-length" in special:
        del special[b"content-length"]  # RFC 9112 6.3: the coding wins, and the connection is not used again
        keep_alive = False
    if bodyless or status < 200 or status in (204, 304):
        length = 0
    return ResponseHead(
        status, line, _without(lines, options) if options else lines, special, length, keep_alive
    )


@lru_cache(maxsize=256)
def _status(line: bytes) -> tuple[int, bytes, bool]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise RefusedError(503, "no status line")
    return int(match[2]), b"HTTP/1.1 %b %b" % (match[2], match[3] or b""), match[1] == b"1"


def _sort(fields: list[bytes], table: LineTable, most: int) -> tuple[list[bytes], dict[bytes, bytes]]:
    """Part the lines that go on as they are from what the special ones say."""
    if len(fields) > most:
        raise RefusedError(431, "there are too many headers")
    said = [*map(table.__getitem__, fields)]
    special: dict[bytes, bytes] = {}
    for name, value in filter(None, said):
        if name in special:
            _note(special, name, value)
        elif name:
            special[name] = value
    return [*compress(fields, map(not_, said))], special


def _note(special: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    if name in _SINGLE:
        raise RefusedError(400, f"{name.decode()} is repeated")
    special[name] += b", " + value


def _refuse_line(head: bytes) -> RefusedError:
    line = head.partition(b"\r\n")[0]
    if _ANY_REQUEST_LINE.fullmatch(line) and not line.endswith((b" HTTP/1.1", b" HTTP/1.0")):
        return RefusedError(505, "only HTTP/1.1 and HTTP/1.0 are spoken here")
    return RefusedError(400, "the request line is malformed")


def _host(special: dict[bytes, bytes], http11: bool) -> bytes:
    host = special.get(b"host")
    if host is None:
        if http11:
            raise RefusedError(400, "the Host header is missing")
        return b""
    if host and _HOST.fullmatch(host) is None:
        raise RefusedError(400, "the Host header is malformed")
    return host


def _from_absolute(method: bytes, target: bytes, fields: RequestFields) -> RequestHead:
    """Turn an absolute target into its origin form; its host is the one that counts (RFC 9112 3.2.2)."""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None or (fields.host and absolute[1].lower() != fields.host.lower()):
        raise RefusedError(400, "the target is malformed or does not match the Host header")
    host, path = absolute.groups()
    if _HOST.fullmatch(host) is None:
        raise RefusedError(400, "the target's host is malformed")
    told = replace(fields, raw=b"", host=host, outgoing=b"")
    return RequestHead(method, path if path.startswith(b"/") else b"/" + path, told)


def _request_length(special: dict[bytes, bytes], http11: bool) -> int:
    coding, length = special.get(b"transfer-encoding"), special.get(b"content-length")
    if coding is None:
        return 0 if length is None else _number(length, 400)
    if length is not None:
        raise RefusedError(400, "both Content-Length and Transfer-Encoding are present")
    if not http11:
        raise RefusedError(400, "HTTP/1.0 has no transfer codings")
    if coding.lower() != b"chunked":
        raise RefusedError(501, "the only transfer coding is chunked")
    return -1


def _response_length(special: dict[bytes, bytes], http11: bool) -> int | None:
    coding, length = special.get(b"transfer-encoding"), special.get(b"content-length")
    number = None if length is None else _number(length, 503)
    if coding is None:
        return number
    if coding.lower() != b"chunked" or not http11:
        raise RefusedError(503, "the answer's transfer coding is unknown")
    return -1


def _number(text: bytes, status: int) -> int:
    if _LENGTH.fullmatch(text) is None:
        raise RefusedError(status, "Content-Length is not a number")
    return int(text)


def _connection_options(special: dict[bytes, bytes]) -> frozenset[bytes]:
    value = special.get(b"connection")
    return _options(value) if value else _NO_OPTIONS


@lru_cache(maxsize=64)
def _options(value: bytes) -> frozenset[bytes]:
    return frozenset(item.strip(b" \t") for item in value.lower().split(b","))


def _without(lines: list[bytes], names: frozenset[bytes]) -> list[bytes]:
    """Drop the fields that the Connection header declares to be for this hop only (RFC 9110 7.6.1)."""
    if names <= _PLAIN_OPTIONS:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in names]


def _upgrade(special: dict[bytes, bytes], options: frozenset[bytes]) -> bytes:
    """Return the protocol to ask for; never another version of HTTP, which would carry requests unseen."""
    wanted = special.get(b"upgrade", b"")
    names = wanted.lower().replace(b" ", b"").split(b",")
    harmful = any(name.startswith((b"h2", b"http", b"tls")) for name in names) or b"http2-settings" in options
    framed = b"transfer-encoding" in special or special.get(b"content-length", b"0") != b"0"
    return b"" if harmful or framed else wanted
