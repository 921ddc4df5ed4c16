"""What the parts of a worker need from each other: each states it here, and knows no more."""

from typing import Protocol

from router.answer import ResponseHead
from router.forward import Sender


class Receiver(Protocol):
    """An exchange, as the instance's connection that it uses sees it."""

    def answer_head(self, head: ResponseHead) -> None:
        """Take an interim (1xx) or final head."""

    def answer_whole(self, head: ResponseHead, content: bytes, *, reusable: bool) -> None:
        """Take a final head with all of its body: most answers come in one piece."""

    def answer_data(self, data: bytes) -> None:
        """Take a piece of the body, or of an upgraded connection."""

    def answer_flush(self) -> None:
        """Nothing more can be said at once: pass on what has been taken."""

    def answer_end(self, trailers: bytes, *, reusable: bool) -> None:
        """The answer is complete."""

    def answer_eof(self) -> None:
        """An upgraded connection's other end sends no more."""

    def upstream_lost(self, *, received: bool) -> None:
        """The connection ended before the answer did; `received` says whether anything had come."""

    def upstream_malformed(self) -> None:
        """The answer breaks the protocol."""

    def upstream_writable(self, *, writable: bool) -> None:
        """Whether the connection's write buffer has room."""


class Client(Protocol):
    """A client's connection, as its current exchange sees it."""

    deadline: float
    sender: Sender
    congested: bool
    """The client reads slower than the instance writes."""

    def write(self, data: bytes) -> None:
        """Send bytes."""

    def write_pieces(self, pieces: list[bytes]) -> None:
        """Send several pieces at once."""

    def write_end(self) -> bool:
        """Send no more, go on reading; False where that cannot be said, as within TLS."""
        ...

    def read_body(self, *, wanted: bool) -> None:
        """Pause or go on with reading the request's body."""

    def switched(self) -> None:
        """The connection was upgraded: everything it says from here on is for the exchange."""

    def finished(self, *, keep_alive: bool) -> None:
        """The answer is written; a new request may follow when `keep_alive`."""

    def abort(self) -> None:
        """Close at once, so that the client sees a truncated answer as such."""


class Timed(Protocol):
    """A client's connection, as the gateway sees it: has a deadline, and can be told to end."""

    deadline: float

    def expired(self, now: float) -> None:
        """The deadline has passed."""

    def drain(self, now: float, grace: float) -> None:
        """The worker stops: end when idle for `grace` seconds, else after the current request."""

    def abort(self) -> None:
        """Close at once."""


class Held(Protocol):
    """A request that waits for its app."""

    def resume(self) -> None:
        """Look the route up again and go on."""


class Tunnel(Protocol):
    """An upgraded connection."""

    def cut(self) -> None:
        """Close both sides."""
