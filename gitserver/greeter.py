"""The accepted socket, before SSH: who may start a handshake now, who waits, who is sent away."""

import asyncio
from collections.abc import Callable
from typing import cast

import asyncssh
import structlog

from gitserver.admission import Ticket
from gitserver.connection import Connection
from gitserver.visitor import FrontDoor, Visitor

log = structlog.get_logger()


class Greeter(asyncio.Protocol):
    """Holds an accepted connection until it is its turn, then hands its transport to SSH."""

    def __init__(
        self,
        door: FrontDoor,
        options: asyncssh.SSHServerConnectionOptions,
        opened: Callable[[Connection], None],
    ) -> None:
        self._door = door
        self._options = options
        self._opened = opened
        self._transport: asyncio.Transport | None = None
        self._ticket: Ticket | None = None
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a place or close."""
        self._transport = cast("asyncio.Transport", transport)
        peer = transport.get_extra_info("peername") or ("local",)
        self._ticket = self._door.admission.enter(str(peer[0]))
        if self._ticket is None:
            log.warning("connection refused: too many that have not logged in", address=peer[0])
            self._transport.abort()
        elif self._ticket.turn.done():
            self._start()
        else:
            self._wait(self._ticket, self._transport)

    def _wait(self, ticket: Ticket, transport: asyncio.Transport) -> None:
        transport.pause_reading()
        loop = asyncio.get_running_loop()
        self._deadline = loop.call_later(self._door.limits.login_seconds, transport.abort)
        ticket.turn.add_done_callback(self._turn)

    def _turn(self, turn: "asyncio.Future[None]") -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        if turn.cancelled() or self._transport is None or self._transport.is_closing():
            return
        self._transport.resume_reading()
        self._start()

    def _start(self) -> None:
        assert self._transport is not None
        assert self._ticket is not None
        connection = Connection(self._options, self._door.limits, Visitor(self._door, self._ticket))
        transport, self._transport = self._transport, None
        transport.set_protocol(connection)
        connection.connection_made(transport)
        self._opened(connection)

    def close(self) -> None:
        """Send a waiting client away; a started connection is no longer ours."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client left, or was sent away, before its turn."""
        del exc
        if self._deadline is not None:
            self._deadline.cancel()
        if self._ticket is not None:
            self._ticket.release(failed=True)
