"""Body framing: takes what belongs to the body off the wire and says where it ends (RFC 9112 6 and 7)."""

import re
from typing import Final, Protocol

from router.errors import RefusedError

_SIZE_LINE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*+(?:;[\t\x20-\x7e\x80-\xff]*+)?")
_TRAILER: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):[\t\x20-\x7e\x80-\xff]*+")
_TOO_LATE: Final = frozenset(
    b"accept age authorization connection cookie date expect expires forwarded host keep-alive location max-forwards "
    b"pragma proxy range retry-after set-cookie te trailer transfer-encoding upgrade vary via warning "
    b"www-authenticate x-forwarded-for x-real-ip x-request-id x-request-start".split()
)
_TOO_LATE_BEGIN: Final = (b"accept-", b"cache-", b"content-", b"http2-", b"if-", b"proxy-", b"x-forwarded-")
"""Fields that mean something before the body is read, and so must not come after it (RFC 9110 6.5.1)."""
_LINE_LIMIT: Final = 1_024
_TRAILERS_LIMIT: Final = 8_192
_EXTENSIONS_LIMIT: Final = 16_384


class Body(Protocol):
    """A decoder of one message's body."""

    complete: bool
    trailers: bytes
    """Field lines that followed the body, each with its CRLF."""

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """Split `data` into the body's content and what follows the body.

        Raises:
            RefusedError: the framing is malformed.
        """
        ...


class LengthBody:
    """A body of known length; also the empty one."""

    __slots__ = ("_left", "complete")
    trailers = b""

    def __init__(self, length: int) -> None:
        self._left = length
        self.complete = length == 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See `Body`."""
        if len(data) < self._left:
            self._left -= len(data)
            return data, b""
        content, rest = data[: self._left], data[self._left :]
        self._left, self.complete = 0, True
        return content, rest


class StreamBody:
    """A body that ends with its connection: its owner sets `complete` then."""

    __slots__ = ("complete",)
    trailers = b""

    def __init__(self) -> None:
        self.complete = False

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See `Body`."""
        return data, b""


class ChunkedBody:
    """A chunked body. Extensions are checked, bounded and dropped; trailers are checked, bounded and kept."""

    __slots__ = ("_extensions", "_left", "_rest", "_trailers", "complete", "trailers")

    def __init__(self) -> None:
        self.complete = False
        self._rest = b""
        self._left = 0
        """Bytes of the current chunk still to come, its CRLF included; -1 within the trailers."""
        self.trailers = b""
        self._trailers = 0
        self._extensions = 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """See `Body`."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        pieces: list[bytes] = []
        at = 0
        while not self.complete and at < len(data):
            following = self._take_chunk(data, at, pieces) if self._left > 0 else self._take_line(data, at)
            if following < 0:
                self._rest = data[at:]
                return b"".join(pieces), b""
            at = following
        return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), data[at:]

    def _take_chunk(self, data: bytes, at: int, pieces: list[bytes]) -> int:
        if self._left > 2:
            piece = data[at : at + self._left - 2]
            pieces.append(piece)
            self._left -= len(piece)
            return at + len(piece)
        if len(data) - at < 2:
            if data[at:] != b"\r":
                raise RefusedError(400, "a chunk is longer than it says")
            return -1
        if data[at : at + 2] != b"\r\n":
            raise RefusedError(400, "a chunk is longer than it says")
        self._left = 0
        return at + 2

    def _take_line(self, data: bytes, at: int) -> int:
        end = data.find(b"\r\n", at, at + _LINE_LIMIT + 2)
        if end < 0:
            if len(data) - at > _LINE_LIMIT or b"\n" in data[at:]:
                raise RefusedError(400, "a chunk's size line is malformed or too long")
            return -1
        line = data[at:end]
        if self._left < 0:
            self._trailer(line)
        else:
            self._size(line)
        return end + 2

    def _size(self, line: bytes) -> None:
        match = _SIZE_LINE.fullmatch(line)
        if match is None:
            raise RefusedError(400, "a chunk's size line is malformed")
        self._extensions += len(line) - len(match[1])
        if self._extensions > _EXTENSIONS_LIMIT:
            raise RefusedError(400, "the chunk extensions are too large")
        size = int(match[1], 16)
        self._left = size + 2 if size else -1

    def _trailer(self, line: bytes) -> None:
        self._trailers += len(line)
        if not line:
            self.complete = True
            return
        match = _TRAILER.fullmatch(line)
        if self._trailers > _TRAILERS_LIMIT or match is None:
            raise RefusedError(400, "a trailer is malformed or too long")
        name = match[1].lower().replace(b"_", b"-")
        if name not in _TOO_LATE and not name.startswith(_TOO_LATE_BEGIN):
            self.trailers += line + b"\r\n"


NO_BODY: Final = LengthBody(0)
"""Shared: a complete body holds no state that changes."""


def body_of(length: int | None) -> Body:
    """Return the decoder for a head's `length`: -1 for chunked, None for until the connection ends."""
    if length == 0:
        return NO_BODY
    if length is None:
        return StreamBody()
    return ChunkedBody() if length < 0 else LengthBody(length)
