"""Request heads: a strict grammar in place of a tolerant parser (RFC 9110, RFC 9112).

What the expressions do not match is refused, so bare CR or LF, folded lines, spaces before a colon, control
bytes and doubtful framing cannot pass. Field lines go on as the bytes they came as (see `lines`); the fields that
routing and framing depend on (`special`) are taken out and written anew.
"""

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

from router.errors import RefusedError
from router.lines import HOP_BY_HOP, Field, LineTable, joined, length_of, options_of, without
from router.options import Limits

END: Final = b"\r\n\r\n"

# Any token may be a method, but those in use are in capitals: what is not is mostly the rest of a body.
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z0-9_\-]{0,31}) ([\x21\x22\x24-\x7e\x80-\xff]+) HTTP/1\.([01])\r\n")
_ANY_REQUEST_LINE = re.compile(rb"[^ \r\n]+ [^ \r\n]+ [A-Z]+/[0-9]+(?:\.[0-9]+)?")
_LONE = re.compile(rb"(?<!\r)\n|\r(?![\n])(?!\Z)|\x00")
_HOST = re.compile(rb"(?:[A-Za-z0-9._\-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#@]+)((?:[/?].*)?)", re.IGNORECASE | re.DOTALL)
_IDEMPOTENT: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
_LINES: Final = LineTable(
    (
        *HOP_BY_HOP,
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


@dataclass(slots=True)
class RequestFields:
    """A request's version and fields: what requests on one connection mostly share."""

    minor: int
    host: bytes
    """As the client sent it, possibly empty."""
    special: dict[bytes, bytes]
    length: int
    """Of the body; -1 for a chunked one."""
    keep_alive: bool
    upgrade: bytes
    """The protocol asked for, empty for none."""
    expects_continue: bool
    """Whether the client waits for an interim answer before it sends the body."""
    options: frozenset[bytes]
    lines: list[bytes]
    """Those that go on as they are."""
    raw: bytes = b""
    outgoing: bytes = b""
    """What an instance gets for them, once it has been written (see `forward`)."""


@dataclass(slots=True)
class RequestHead:
    """A request that may be passed on. `target` is in origin form."""

    method: bytes
    target: bytes
    fields: RequestFields

    @property
    def idempotent(self) -> bool:
        """Whether sending it twice does what sending it once does (RFC 9110 9.2.2)."""
        return self.method in _IDEMPOTENT


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
    lines, said = _LINES.sort(raw.split(b"\r\n")[1:], limits.headers)
    known = _understand(said, http11)
    return RequestFields(
        known.minor,
        known.host,
        known.special,
        known.length,
        known.keep_alive,
        known.upgrade,
        known.expects_continue,
        known.options,
        without(lines, known.options) if known.options else lines,
        raw,
    )


@lru_cache(maxsize=256)
def _understand(said: tuple[Field, ...], http11: bool) -> RequestFields:
    """Read the special fields: their combinations are few, so what they mean together is remembered."""
    special = joined(said)
    options = options_of(special)
    return RequestFields(
        minor=1 if http11 else 0,
        host=_host(special, http11),
        special=special,
        length=_length(special, http11),
        keep_alive=b"close" not in options and (http11 or b"keep-alive" in options),
        upgrade=_upgrade(special, options) if http11 and b"upgrade" in options else b"",
        expects_continue=http11 and special.get(b"expect", b"").lower() == b"100-continue",
        options=options,
        lines=[],
    )


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


def _length(special: dict[bytes, bytes], http11: bool) -> int:
    coding, length = special.get(b"transfer-encoding"), length_of(special)
    if coding is None:
        return length or 0
    if length is not None:
        raise RefusedError(400, "both Content-Length and Transfer-Encoding are present")
    if not http11:
        raise RefusedError(400, "HTTP/1.0 has no transfer codings")
    if coding.lower() != b"chunked":
        raise RefusedError(501, "the only transfer coding is chunked")
    return -1


def _upgrade(special: dict[bytes, bytes], options: frozenset[bytes]) -> bytes:
    """Return the protocol to ask for; never another version of HTTP, which would carry requests unseen."""
    wanted = special.get(b"upgrade", b"")
    names = wanted.lower().replace(b" ", b"").split(b",")
    harmful = any(name.startswith((b"h2", b"http", b"tls")) for name in names) or b"http2-settings" in options
    framed = b"transfer-encoding" in special or special.get(b"content-length", b"0") != b"0"
    return b"" if harmful or framed else wanted
