"""Heads of answers, from instances that are believed little more than clients are."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from router.errors import RefusedError
from router.lines import HOP_BY_HOP, Field, LineTable, joined, length_of, options_of, without

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?")
_LINES: Final = LineTable((*HOP_BY_HOP, b"content-length", b"proxy-authenticate"))
_MOST_HEADERS: Final = 1_000
_STATUS_LINE_LIMIT: Final = 1_000


@dataclass(frozen=True, slots=True)
class Framing:
    """What an answer's special fields say."""

    length: int | None
    """-1 for a chunked body, None for one that ends with the connection."""
    keep_alive: bool
    content_length: bytes
    """The field to pass on with its CRLF, empty for none."""
    upgrade: bytes
    options: frozenset[bytes]


@dataclass(slots=True)
class ResponseHead:
    """An instance's answer."""

    status: int
    line: bytes
    """The status line as it goes on, of HTTP/1.1 and without its CRLF."""
    lines: list[bytes]
    """Those that go on as they are."""
    length: int | None
    """Like `Framing.length`, but 0 where no body follows whatever the fields say."""
    framing: Framing
    raw: bytes
    bodyless: bool
    outgoing: bytes = b""
    """What most clients get for it, once it has been written (see `forward`)."""


def parse_response(
    buffer: bytes, end: int, *, bodyless: bool, last: ResponseHead | None = None
) -> ResponseHead:
    """Read the head that ends at `end`; `bodyless` says that the request was HEAD.

    `last` is the answer before this one on the same connection: the same bytes say the same again.

    Raises:
        RefusedError: the instance must not be believed (H17).
    """
    raw = buffer[:end]
    if last is not None and last.raw == raw and last.bodyless is bodyless:
        return last
    first, *fields = raw.split(b"\r\n")
    status, line, http11 = _status(first[:_STATUS_LINE_LIMIT])
    lines, said = _LINES.sort(fields, _MOST_HEADERS)
    framing = _understand(said, http11)
    if framing.options:
        lines = without(lines, framing.options)
    length = 0 if bodyless or status < 200 or status in (204, 304) else framing.length
    return ResponseHead(status, line, lines, length, framing, raw, bodyless)


@lru_cache(maxsize=256)
def _status(line: bytes) -> tuple[int, bytes, bool]:
    match = _STATUS_LINE.fullmatch(line)
    if match is None:
        raise RefusedError(503, "no status line")
    return int(match[2]), b"HTTP/1.1 %b %b" % (match[2], match[3] or b""), match[1] == b"1"


@lru_cache(maxsize=1_024)
def _understand(said: tuple[Field, ...], http11: bool) -> Framing:
    """Read the special fields: their combinations are few, so what they mean together is remembered."""
    special = joined(said)
    options = options_of(special)
    keep_alive = b"close" not in options and (http11 or b"keep-alive" in options)
    length, coding = length_of(special), special.get(b"transfer-encoding")
    passed_on = b"Content-Length: %d\r\n" % length if length is not None else b""
    if coding is not None:
        if coding.lower() != b"chunked" or not http11:
            raise RefusedError(503, "the answer's transfer coding is unknown")
        if length is not None:  # RFC 9112 6.3: the coding wins, and the connection is not used again
            keep_alive = False
        length, passed_on = -1, b""
    return Framing(length, keep_alive, passed_on, special.get(b"upgrade", b"websocket"), options)
