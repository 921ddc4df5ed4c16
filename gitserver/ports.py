"""What the SSH front door needs from its owner."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

ZERO_ID = "0" * 40

Service = Literal["receive-pack", "upload-pack"]
Announce = Callable[[str], Awaitable[None]]
"""Sends one line of text, without a newline, to the person at the other end."""


class Refused(Exception):  # noqa: N818 - a verdict, not a fault
    """Raised by an owner to turn a client away; the text is shown to the person as it is."""


@dataclass(frozen=True)
class Principal:
    """Whoever proved possession of a key. `id` is the owner's row, `name` is for people."""

    id: str
    name: str
    admin: bool
    key: str = ""
    """Fingerprint of the key; filled in by the front door, as is the address."""
    address: str = ""
    """Where the client is."""


@dataclass(frozen=True)
class Repository:
    """A bare repository: the app's id and name, and the directory, which is named by id."""

    id: str
    app: str
    path: Path


@dataclass(frozen=True)
class RefUpdate:
    """One command of a push. Object ids are 40 hex digits; `ZERO_ID` means created or deleted."""

    ref: str
    old: str
    new: str


@dataclass(frozen=True)
class Push:
    """A push whose objects are in quarantine and verified, and whose refs have not moved."""

    repository: Repository
    principal: Principal
    updates: tuple[RefUpdate, ...]
    options: tuple[str, ...] = ()
    quarantine: Path | None = None
    """Where the pushed objects are; None for a push without objects (deletes only)."""
    shallow: tuple[str, ...] = ()
    """Object ids that the client declared as its history's edge."""


@dataclass(frozen=True)
class Verdict:
    """The handler's answer. Refused means that no ref of the push moves."""

    accepted: bool


class Client(Protocol):
    """The other end of a push, as its handler sees it."""

    async def line(self, text: str) -> None:
        """Show a line (side-band 2). Sanitised here; returns at once when the client is gone."""

    async def wait_gone(self) -> None:
        """Return when the client has disconnected."""


class KeyStore(Protocol):
    """Looks up public keys."""

    async def principal(self, fingerprint: str) -> Principal | None:
        """Return who owns the key with this `SHA256:…` fingerprint, or None."""


class PushHandler(Protocol):
    """The post-receive hook and what surrounds it; called in this order for each git request."""

    async def open(self, principal: Principal, name: str, service: Service) -> Repository:
        """Resolve the name a client asked for, creating the app where that is allowed.

        `name` is checked against the name grammar by the handler, not by the caller.

        Raises:
            Refused: unknown app or no right to it (one text for both), bad name, limits.
        """

    def slot(
        self, repository: Repository, principal: Principal, announce: Announce
    ) -> AbstractAsyncContextManager[None]:
        """Hold the app's push slot from before refs are advertised until receive-pack has exited.

        Waiting is told through `announce` (SSH's stderr) and is bounded.

        Raises:
            Refused: on entry, where the wait is over: replaced by a newer push, too long, too many.
        """

    async def check(self, push: Push) -> None:
        """Judge the refs before any object is used (branch, names, stale old ids, options).

        Raises:
            Refused: with the sentence for the pusher.
        """

    async def received(self, push: Push, client: Client) -> Verdict:
        """The post-receive hook: objects are in and verified, refs have not moved yet."""

    async def finished(self, push: Push, *, moved: bool) -> None:
        """Receive-pack has exited; `moved` says whether the refs are now at their new ids.

        Called once for each push that reached `received`, with the slot still held.
        """


@dataclass(frozen=True)
class Terminal:
    """A client's terminal: what it is called (`TERM`) and its size."""

    kind: str
    columns: int
    rows: int


class Session(Protocol):
    """One command's ends: arguments, input, output. Writes apply back-pressure."""

    @property
    def principal(self) -> Principal:
        """Who runs the command."""
        ...

    @property
    def command(self) -> str:
        """The command line as the client sent it, at most 64 KiB."""
        ...

    async def read(self, limit: int) -> bytes:
        """Return up to `limit` bytes of standard input, empty at its end."""
        ...

    async def out(self, data: bytes) -> None:
        """Write to standard output. Raises ConnectionError when the client is gone."""

    async def err(self, data: bytes) -> None:
        """Write to standard error. Raises ConnectionError when the client is gone."""

    @property
    def terminal(self) -> Terminal | None:
        """The client's terminal as it is now, None without one."""
        ...

    def take_terminal(self) -> Terminal | None:
        """Get every byte as it is from now on; without it, lines and Ctrl-C are taken care of."""
        ...

    async def resized(self) -> Terminal:
        """Return the terminal after its next change of size."""
        ...

    async def signalled(self) -> str:
        """Return the name, without `SIG`, of the next signal that the client sends."""
        ...

    async def wait_gone(self) -> None:
        """Return when the client has disconnected."""


class CommandHandler(Protocol):
    """Runs everything that is not git."""

    async def run(self, session: Session) -> int:
        """Run the command and return its exit code. Cancelled when the client disconnects."""
        ...


@dataclass(frozen=True)
class Limits:
    """What one client may ask of the front door."""

    auth_tries: int = 6
    unauthenticated: int = 100
    unauthenticated_per_address: int = 10
    sessions_per_connection: int = 10
    login_seconds: float = 20
    environment_requests: int = 32
    environment_bytes: int = 1024
    pack_bytes: int = 2 << 30
    pack_objects: int = 4_000_000
    ingest_memory_bytes: int = 1 << 30
    ingest_cpu_seconds: int = 300
    concurrent_ingests: int = 4
    concurrent_uploads: int = 16
    connections_per_key: int = 64
    refs: int = 1000
    ref_updates: int = 100
    push_options: int = 64
    push_option_bytes: int = 1024


@dataclass(frozen=True)
class GitServerOptions:
    """Where the front door listens and keeps its own files (host keys, the hook shim)."""

    host: str
    port: int
    state: Path
    username: str = "cygni"
    legacy_ciphers: bool = False
    limits: Limits = field(default_factory=Limits)
