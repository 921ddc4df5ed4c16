"""One connection to an instance: writes a request, reads its answer, bounded both ways."""

import asyncio
from typing import Final, cast

from router.answer import ResponseHead, parse_response
from router.body import Body, body_of
from router.errors import RefusedError
from router.head import END
from router.options import Limits
from router.ports import Receiver

_REMEMBERED: Final = 2_048


class UpstreamConnection(asyncio.Protocol):
    """Idle without a receiver, busy with one."""

    __slots__ = (
        "_body",
        "_bodyless",
        "_buffer",
        "_head",
        "_last",
        "_limits",
        "_received",
        "closed",
        "idle_since",
        "paused",
        "receiver",
        "transport",
        "tunnel",
    )

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.transport: asyncio.Transport
        self.receiver: Receiver | None = None
        self.idle_since = 0.0
        self.tunnel = False
        self.closed = False
        """Whether it has ended, or is about to."""
        self.paused = False
        """Whether the answer waits for the client."""
        self._buffer = b""
        self._body: Body | None = None
        self._head: ResponseHead | None = None
        self._last: ResponseHead | None = None
        """Of the answer before, which the next one may repeat."""
        self._bodyless = False
        self._received = False

    @property
    def usable(self) -> bool:
        """Whether another request may be sent."""
        return not self.closed and self.transport.get_write_buffer_size() == 0

    def begin(self, receiver: Receiver, *, bodyless: bool) -> None:
        """Start an exchange; `bodyless` says that the request is HEAD."""
        self.receiver = receiver
        self._bodyless = bodyless
        self._received = False

    def release(self, now: float) -> None:
        """End the exchange and make the connection ready for the next."""
        self.receiver = self._body = self._head = None
        self.idle_since = now
        if self.paused:
            self.resume()

    def pause(self) -> None:
        """Read no more for now."""
        self.paused = True
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        self.paused = False
        self.transport.resume_reading()

    def close(self) -> None:
        """Drop the connection at once; the receiver is not told."""
        self.receiver = None
        self.closed = True
        self.transport.abort()

    def finish(self) -> None:
        """Close once what was written has left; the receiver is not told."""
        self.receiver = None
        self.closed = True
        self.transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the write buffer's limit."""
        transport = self.transport = cast("asyncio.Transport", transport)  # uvloop's derive from nothing
        transport.set_write_buffer_limits(high=self._limits.buffer_bytes)

    def data_received(self, data: bytes) -> None:
        """Pass bytes on; an instance that speaks unasked is dropped."""
        receiver = self.receiver
        if receiver is None:
            self.close()
            return
        self._received = True
        try:
            if self.tunnel:
                receiver.answer_data(data)
            elif self._body is not None:
                self._read_body(receiver, self._body, data)
            else:
                self._read_heads(receiver, self._buffer + data if self._buffer else data)
        except RefusedError:
            self.close()
            receiver.upstream_malformed()
        else:
            if self.receiver is receiver:
                receiver.answer_flush()

    def eof_received(self) -> bool:
        """A body without a length ends here; an upgraded connection may still be written to."""
        receiver = self.receiver
        if receiver is not None and self.tunnel:
            receiver.answer_eof()
            return True
        self.closed = True
        if receiver is not None and self._head is not None and self._head.length is None:
            receiver.answer_end(b"", reusable=False)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the receiver, if there is one still."""
        del exc
        self.closed = True
        receiver, self.receiver = self.receiver, None
        if receiver is not None:
            receiver.upstream_lost(received=self._received)

    def pause_writing(self) -> None:
        """The instance reads slower than the client writes."""
        if self.receiver is not None:
            self.receiver.upstream_writable(writable=False)

    def resume_writing(self) -> None:
        """There is room again."""
        if self.receiver is not None:
            self.receiver.upstream_writable(writable=True)

    def _read_heads(self, receiver: Receiver, data: bytes) -> None:
        while self._body is None:
            end = data.find(END)
            if end < 0 or end > self._limits.response_head_bytes:
                if len(data) > self._limits.response_head_bytes:
                    raise RefusedError(503, "the answer's headers are too large")
                self._buffer = data
                return
            head = parse_response(data, end, bodyless=self._bodyless, last=self._last)
            self._last = head if end <= _REMEMBERED else None
            data = data[end + len(END) :]
            self._buffer = b""
            if head.status >= 200:
                if head.length == len(data):
                    receiver.answer_whole(head, data, reusable=head.framing.keep_alive)
                    return
                self._head, self._body = head, body_of(head.length)
            receiver.answer_head(head)
            if self.receiver is not receiver:
                return  # the exchange ended with this head
            if self.tunnel:
                if data:
                    receiver.answer_data(data)
                return
        self._read_body(receiver, self._body, data)

    def _read_body(self, receiver: Receiver, body: Body, data: bytes) -> None:
        content, rest = body.feed(data)
        if content:
            receiver.answer_data(content)
        if body.complete and self.receiver is receiver:
            assert self._head is not None
            receiver.answer_end(body.trailers, reusable=self._head.framing.keep_alive and not rest)
