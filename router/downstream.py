"""One client connection: reads requests one after the other, writes their answers in order."""

import asyncio
from typing import Final, cast

from router import faults
from router.errors import RefusedError
from router.exchange import Exchange
from router.forward import Sender, sender_of
from router.gateway import IDLE_GRACE, Gateway
from router.head import END, RequestFields, RequestHead, find_request_end, parse_request

_LINGER_BYTES: Final = 1 << 20
_CR: Final = 13
_REMEMBERED: Final = 2_048
_FOREVER: Final = float("inf")


class ClientConnection(asyncio.Protocol):
    """Requests that arrive early wait in a bounded buffer until the one before is answered."""

    __slots__ = (
        "_admitted",
        "_body_wanted",
        "_buffer",
        "_discarded",
        "_eof",
        "_exchange",
        "_fields",
        "_gateway",
        "_head_begun",
        "_lingering",
        "_reading",
        "_scheme",
        "_serving",
        "_transport",
        "_unsent",
        "congested",
        "deadline",
        "sender",
    )

    def __init__(self, gateway: Gateway, scheme: bytes) -> None:
        self._gateway = gateway
        self._scheme = scheme
        self._transport: asyncio.Transport
        self.sender: Sender
        self.deadline = _FOREVER
        self.congested = False
        self._buffer = b""
        self._exchange: Exchange | None = None
        self._fields: RequestFields | None = None
        """Of the request before, which the next one mostly repeats."""
        self._reading = self._body_wanted = True
        self._admitted = self._eof = self._lingering = self._serving = self._head_begun = False
        self._discarded = 0
        self._unsent = -1
        """What the write buffer held at the last deadline; -1 for not looked at."""

    # --- the transport's calls -------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Describe the peer, or turn it away when there are too many connections."""
        transport = self._transport = cast("asyncio.Transport", transport)  # uvloop's derive from nothing
        limits = self._gateway.limits
        peer, local = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if peer:
            self.sender = sender_of(peer[0], local[1], self._gateway.trusted, self._scheme)
            self._admitted = self._gateway.admit(self, self.sender)
        if not self._admitted:
            transport.abort()
            return
        transport.set_write_buffer_limits(high=limits.buffer_bytes)
        self.deadline = self._gateway.loop.time() + limits.header_timeout

    def data_received(self, data: bytes) -> None:
        """Give bytes to the current exchange, or keep them for the next one."""
        exchange = self._exchange
        if self._lingering:
            self._discard(data)
        elif exchange is None and not self._buffer and not self.congested and self._serve_alone(data):
            pass
        elif exchange is not None and exchange.wants_input:
            self._feed(exchange, data)
        else:
            self._buffer = self._buffer + data if self._buffer else data
            if exchange is None:
                self._serve()
            self._regulate()

    def eof_received(self) -> bool:
        """The client sends no more; it may still wait for an answer."""
        self._eof = True
        exchange = self._exchange
        if exchange is None or self._lingering:
            return False
        if exchange.client_ended():
            return True
        exchange.client_gone()
        self._exchange = None
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End what was going on."""
        del exc
        if self._admitted:
            self._gateway.left(self, self.sender)
        self.deadline = _FOREVER
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()

    def pause_writing(self) -> None:
        """The client reads slower than the instance writes."""
        self.congested = True
        if self._exchange is not None:
            self._exchange.client_writable(writable=False)

    def resume_writing(self) -> None:
        """There is room again."""
        self.congested = False
        if self._exchange is not None:
            self._exchange.client_writable(writable=True)
        elif not self._transport.is_closing():
            self._serve()
            self._regulate()

    # --- the exchange's calls (see `Client`) -----------------------------------------------------

    def write(self, data: bytes) -> None:
        """Send bytes."""
        self._transport.write(data)

    def write_pieces(self, pieces: list[bytes]) -> None:
        """Send several pieces at once."""
        self._transport.writelines(pieces)

    def write_end(self) -> bool:
        """Send no more, go on reading; False where that cannot be said, as within TLS."""
        if not self._transport.can_write_eof():
            return False
        self._transport.write_eof()
        return True

    def read_body(self, *, wanted: bool) -> None:
        """Pause or go on with reading the request's body."""
        self._body_wanted = wanted
        self._regulate()

    def switched(self) -> None:
        """Give what came before the connection was upgraded to the exchange, and read on."""
        self._body_wanted = True
        early, self._buffer = self._buffer, b""
        if early and self._exchange is not None:
            self._feed(self._exchange, early)
        self._regulate()

    def finished(self, *, keep_alive: bool) -> None:
        """Begin the next request, or close in a way that lets the client read the answer."""
        exchange, self._exchange = self._exchange, None
        self._body_wanted = True
        if keep_alive and not (self._eof and not self._buffer):
            self._rest()
            if self._serving:
                return
            if self._buffer:
                self._serve()
            if self._buffer or not self._reading:
                self._regulate()
        elif self._eof or exchange is None or exchange.tunnel:
            self._close()
        else:
            self._linger(pressing=exchange.wants_input or bool(self._buffer))

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # --- the gateway's calls (see `Timed`) -------------------------------------------------------

    def expired(self, now: float) -> None:
        """Close an idle connection, refuse slow headers, or let the exchange say what is wrong.

        A client that still reads what was written gets as much time again each time.
        """
        left = self._transport.get_write_buffer_size()
        if left and (self._unsent < 0 or left < self._unsent) and not self._lingering:
            self._unsent = left
            self.deadline = now + self._gateway.limits.idle
        elif self._exchange is not None:
            self._unsent = -1
            self._exchange.expired()
        elif self._head_begun and not self._lingering and not left:
            self._refuse(RefusedError(408, "the headers did not arrive in time"))
        else:
            self._transport.abort() if left or self._lingering else self._transport.close()
            self.deadline = _FOREVER

    def drain(self, now: float, grace: float) -> None:
        """The worker stops: a request that comes within `grace` seconds is answered still."""
        if self._exchange is None:
            self.deadline = min(self.deadline, now + grace)

    # --- inside ----------------------------------------------------------------------------------

    def _serve_alone(self, data: bytes) -> bool:
        """Start a request whose head is all of `data`, as it mostly is; False for anything else."""
        limits, end = self._gateway.limits, len(data) - len(END)
        if not 0 < end <= limits.head_bytes - len(END) or data.find(END) != end or data[0] == _CR:
            return False
        try:
            head = parse_request(data, 0, end, limits, self._fields)
        except RefusedError as error:
            self._refuse(error)
        else:
            self._start(head)
        return True

    def _start(self, head: RequestHead) -> Exchange:
        if len(head.fields.raw) <= _REMEMBERED:
            self._fields = head.fields
        exchange = self._exchange = Exchange(self._gateway, self, head)
        exchange.start()
        return exchange

    def _serve(self) -> None:
        """Start the requests in the buffer, one after the other, for as long as each ends at once."""
        self._serving = True
        at = 0
        try:
            while self._exchange is None and at < len(self._buffer) and not self._halted:
                begun = self._begin(at)
                if begun == at:
                    break
                at = begun
        except RefusedError as error:
            self._refuse(error)
        finally:
            self._serving = False
            self._keep(at)
        if self._eof and self._exchange is None and not self._buffer and not self._halted:
            self._transport.close()

    @property
    def _halted(self) -> bool:
        return self.congested or self._lingering or self._transport.is_closing()

    def _begin(self, at: int) -> int:
        """Start the request at `at` in the buffer; returns where the bytes it does not take begin."""
        limits = self._gateway.limits
        buffer = self._buffer
        if not self._head_begun:
            self._head_begun = True
            self.deadline = self._gateway.loop.time() + limits.header_timeout
        start = at + 2 if buffer.startswith(b"\r\n", at) else at  # RFC 9112 2.2: one empty line is ignored
        end = find_request_end(buffer, start, limits)
        if end < 0:
            if self._eof:
                self._transport.close()
            return at
        head = parse_request(buffer, start, end, limits, self._fields)
        self._head_begun = False
        exchange = self._start(head)
        at = end + len(END)
        if head.fields.length and self._exchange is exchange and at < len(buffer):
            self._buffer = b""
            self._feed(exchange, buffer[at:])
            return 0
        return at

    def _keep(self, at: int) -> None:
        """Forget what has been taken from the buffer."""
        if self._lingering:
            self._buffer = b""
        elif at:
            self._buffer = self._buffer[at:]

    def _feed(self, exchange: Exchange, data: bytes) -> None:
        try:
            rest = exchange.feed(data)
        except RefusedError as error:
            exchange.refuse(faults.refusal(error.status, error.reason))
            return
        if rest:
            self._buffer = rest
            self._regulate()

    def _refuse(self, error: RefusedError) -> None:
        data, _ = faults.page(faults.refusal(error.status, error.reason), None, "", keep_alive=False)
        self._transport.write(data)
        self._linger(pressing=True)

    def _rest(self) -> None:
        pause = IDLE_GRACE if self._gateway.draining else self._gateway.limits.keep_alive
        self.deadline = self._gateway.loop.time() + pause
        self._unsent = -1

    def _close(self) -> None:
        """Close once everything is written; a client that stops reading is cut off after a while."""
        self._transport.close()
        self.deadline = self._gateway.loop.time() + self._gateway.limits.idle

    def _linger(self, *, pressing: bool) -> None:
        """Close; where the client may still be sending, read on for a while, else it could lose the answer."""
        self._buffer = b""
        if not pressing:
            self._close()
            return
        self._lingering = True
        self.write_end()
        self.deadline = self._gateway.loop.time() + self._gateway.limits.linger
        self._regulate()

    def _discard(self, data: bytes) -> None:
        self._discarded += len(data)
        if self._discarded > _LINGER_BYTES:
            self._transport.abort()

    def _regulate(self) -> None:
        """Read only what there is room for."""
        room = len(self._buffer) < self._gateway.limits.buffer_bytes
        wanted = self._lingering or (room and self._body_wanted)
        if wanted == self._reading or self._transport.is_closing():
            return
        self._reading = wanted
        if wanted:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
