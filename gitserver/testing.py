"""In-memory owners of the front door: for its own tests and for those of whoever builds on it."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gitserver import repository
from gitserver.ports import (
    Announce,
    Client,
    Principal,
    Push,
    Refused,
    Repository,
    Service,
    Session,
    Verdict,
)

Received = Callable[[Push, Client], Awaitable[Verdict]]


async def accept(push: Push, client: Client) -> Verdict:
    """Accept any push without a word."""
    del push, client
    return Verdict(accepted=True)


class MemoryKeys:
    """A KeyStore in a dictionary; `asked` counts look-ups."""

    def __init__(self) -> None:
        self.principals: dict[str, Principal] = {}
        self.asked: list[str] = []

    async def principal(self, fingerprint: str) -> Principal | None:
        """Return who owns the key."""
        self.asked.append(fingerprint)
        return self.principals.get(fingerprint)


@dataclass
class MemoryPushes:
    """A PushHandler that makes a repository for every name it is asked for, and records what happens."""

    root: Path
    received_by: Received = accept
    checked: list[Push] = field(default_factory=list)
    pushes: list[Push] = field(default_factory=list)
    finishes: list[tuple[Push, bool]] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    refuse_open: str | None = None
    refuse_slot: str | None = None
    refuse_check: str | None = None

    def __post_init__(self) -> None:
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self.changed = asyncio.Condition()

    def path(self, name: str) -> Path:
        """Where the repository of an app is."""
        return self.root / f"id-{name}.git"

    async def open(self, principal: Principal, name: str, service: Service) -> Repository:
        """Find the repository, making it for a push."""
        del principal
        if self.refuse_open is not None:
            raise Refused(self.refuse_open)
        if not name.replace("-", "").isalnum():
            raise Refused(f"{name!r} is no app name")
        if service == "upload-pack" and not self.path(name).exists():
            raise Refused(f"there is no app {name}, or you may not use it")
        if not self.path(name).exists():
            await repository.create_bare(self.path(name))
        return Repository(f"id-{name}", name, self.path(name))

    @asynccontextmanager
    async def slot(self, target: Repository, principal: Principal, announce: Announce) -> AsyncIterator[None]:
        """One push of a repository at a time, first come, first served."""
        if self.refuse_slot is not None:
            raise Refused(self.refuse_slot)
        lock = self._locks[target.id]
        if lock.locked():
            self.waiting.append(principal.name)
            await announce(f"Waiting for another push to {target.app}")
            await self._notify()
        async with lock:
            yield

    async def check(self, push: Push) -> None:
        """Record the push, refuse it where told to."""
        self.checked.append(push)
        if self.refuse_check is not None:
            raise Refused(self.refuse_check)

    async def received(self, push: Push, client: Client) -> Verdict:
        """Record the push and ask `received_by`."""
        self.pushes.append(push)
        await self._notify()
        return await self.received_by(push, client)

    async def finished(self, push: Push, *, moved: bool) -> None:
        """Record the end; the first branch becomes HEAD."""
        if moved and push.updates[0].ref.startswith("refs/heads/"):
            await repository.set_head(push.repository.path, push.updates[0].ref.removeprefix("refs/heads/"))
        self.finishes.append((push, moved))
        await self._notify()

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def until(self, condition: Callable[[], bool], seconds: float = 20) -> None:
        """Wait until `condition` holds after something was recorded.

        Raises:
            TimeoutError: it does not hold in time.
        """
        async with asyncio.timeout(seconds), self.changed:
            await self.changed.wait_for(condition)


class EchoCommands:
    """A CommandHandler for tests: `echo`, `cat`, `exit`, `fail`, `refuse`, `wait`, `terminal`, `signal`."""

    def __init__(self) -> None:
        self.commands: list[str] = []
        self.cancelled = asyncio.Event()
        self.started = asyncio.Event()

    async def run(self, session: Session) -> int:
        """Run one of the commands."""
        self.commands.append(session.command)
        name, _, rest = session.command.partition(" ")
        match name:
            case "cat":
                await session.out(rest.encode())
                while data := await session.read(1 << 16):
                    await session.out(data)
            case "exit":
                return int(rest)
            case "fail":
                raise RuntimeError(rest)
            case "refuse":
                raise Refused(rest)
            case "wait":
                await self._wait()
            case "terminal":
                await self._terminal(session)
            case "signal":
                await session.out(b"ready\n")
                await session.out((await session.signalled()).encode())
            case _:
                await session.out(rest.encode() + b"\n")
                await session.err(b"done\n")
        return 0

    async def _terminal(self, session: Session) -> None:
        """Take the terminal over: show its sizes and every byte that is typed, until a `q`."""
        await session.out(f"{session.take_terminal()}\n".encode())

        async def watch() -> None:
            while True:
                await session.out(f"{await session.resized()}\n".encode())

        watching = asyncio.create_task(watch())
        try:
            while (data := await session.read(100)) and b"q" not in data:
                await session.out(f"{data!r}\n".encode())
        finally:
            watching.cancel()

    async def _wait(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
