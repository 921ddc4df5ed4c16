"""What the deployer needs from an engine and from its owner."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, Protocol

from deployer.manifest import Manifest, Process, Resources

Announce = Callable[[str], Awaitable[None]]
"""Tells the person who deploys one line, without a newline."""

Report = Callable[[str, str], Awaitable[None]]
"""Puts one platform line, without a newline, into the log of the app with this id: `(app_id, text)`."""

State = Literal["starting", "running", "stopping", "exited"]
"""`stopping` means for good: its stop has begun and ends with its removal."""


class EngineError(Exception):
    """The engine refused or could not be reached; `transient` says whether trying again can help."""

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


@dataclass(frozen=True)
class Address:
    """Where an instance accepts, as seen from the router."""

    host: str
    port: int


@dataclass(frozen=True)
class Exit:
    """How an instance ended the last time that it was started again."""

    at: datetime | None
    code: int | None
    out_of_memory: bool


@dataclass(frozen=True)
class Usage:
    """What an instance uses now. `cpus` is in processors: 0.5 is half of one."""

    memory_bytes: int
    memory_limit: int
    cpus: float


@dataclass(frozen=True)
class Instance:
    """One running (or ended) process: a container, a task. `id` is the engine's, never reused."""

    id: str
    app_id: str
    app: str
    release: int
    process: str
    number: int
    state: State
    address: Address | None = None
    """None for process types that are not routed."""
    started_at: datetime | None = None
    finished_at: datetime | None = None
    exit_code: int | None = None
    out_of_memory: bool = False
    restarts: int = 0
    generation: int = 0
    """Which replacement of the same number of the same release this is; a restart starts the next one."""
    last_exit: Exit | None = None
    """Why it was restarted the last time, as far as this engine's object remembers."""
    one_off: Literal["attached", "detached"] | None = None
    """Beside the formation: ends with whoever is joined to it, or by itself."""

    @property
    def name(self) -> str:
        """How people and log lines name it: `web.1`."""
        return f"{self.process}.{self.number}"


@dataclass(frozen=True)
class Terminal:
    """A terminal for a process: what it is called (`TERM`) and its size."""

    kind: str
    columns: int
    rows: int


ONE_OFF_PROCESS = "run"
"""What the process of a one-off is called: `run.1`."""


@dataclass(frozen=True)
class OneOff:
    """A process beside the formation, in a release's image and environment. `number` is unique among an app's."""

    number: int
    command: tuple[str, ...]
    resources: Resources = field(default_factory=Resources)
    terminal: Terminal | None = None


@dataclass(frozen=True)
class Outcome:
    """How a process ended; more than 128 is a signal, 127 a command that is not there."""

    code: int
    out_of_memory: bool = False


Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True)
class LogLine:
    """One line an instance printed, without its newline."""

    at: datetime
    stream: Stream
    text: str


@dataclass(frozen=True)
class Event:
    """Something happened to an instance: it started, died, was killed for memory, was destroyed."""

    instance_id: str
    kind: Literal["start", "die", "oom", "destroy"]
    at: datetime
    exit_code: int | None = None
    app_id: str = ""


Leaving = Callable[[Instance], Awaitable[None]]
"""Called by an engine with an instance that has ended, before it is removed with its output."""


async def nobody(instance: Instance) -> None:
    """For engines whose owner does not want the output of what is removed."""


class Attachment(Protocol):
    """A process with its input and output joined to a caller, who ends it with `end` whatever happened."""

    async def read(self) -> tuple[Stream, bytes] | None:
        """Return the next piece of output, None at its end. With a terminal everything is `stdout`."""
        ...

    async def write(self, data: bytes) -> None:
        """Write to the process's input, waiting while it does not read; an ended process reads nothing."""

    async def write_eof(self) -> None:
        """End the process's input; with a terminal, type Ctrl-D."""

    async def resize(self, columns: int, rows: int) -> None:
        """Change the terminal's size; the process gets SIGWINCH."""

    async def signal(self, name: str) -> None:
        """Send a signal, named without `SIG`."""

    async def wait(self) -> Outcome:
        """Return how the process ended; to be called after `read` came to the end."""
        ...

    async def end(self) -> None:
        """SIGHUP, SIGKILL a few seconds later, and removal of what there is to remove; ended already is fine."""


class Engine(Protocol):
    """Runs instances. Every call is idempotent or safe to repeat after a crash of the caller."""

    async def start(
        self, manifest: Manifest, process: Process, number: int, *, generation: int = 0
    ) -> Instance:
        """Create and start one instance; an identical one that already runs is returned.

        Identical means the same app, release, process, number and generation. One that has exited is
        replaced by a fresh one.

        Raises:
            EngineError: the image is missing, the engine is down, no address is left.
        """
        ...

    async def list(self, app_id: str | None = None) -> Sequence[Instance]:
        """Return this server's instances in every state, one-off ones left out."""
        ...

    async def inspect(self, instance_id: str) -> Instance | None:
        """Return one instance as it is now, None when it is gone."""
        ...

    async def usage(self, instances: Sequence[Instance]) -> Mapping[str, Usage]:
        """What running instances use now, by instance id; those that cannot be measured are left out.

        Raises:
            EngineError: the engine does not answer.
        """
        ...

    async def stop(self, instance: Instance, timeout: float) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds, then remove; gone already is fine.

        Its address stays unused until `reclaim`, where the engine gives addresses out (ECS does not: there `$PORT`,
        which differs from app to app, keeps strangers apart). Where the platform takes the time between the signals
        from what was started (ECS), it is that process's own stop timeout.
        """

    async def restart(self, instance: Instance, timeout: float = 30.0) -> Instance:
        """Start an instance again; one that still runs is stopped first.

        Its id stays, and its address where the engine gives addresses out. An engine may do the same by itself
        when an instance has ended (ECS: lost machines, and crashes that nobody was there to see).

        Raises:
            EngineError: it is gone, or it is being stopped for good.
        """
        ...

    async def wait(self, instance: Instance) -> Instance | None:
        """Return the instance as soon as it does not run, None when it is gone."""
        ...

    async def listening(self, instance: Instance) -> Sequence[Address]:
        """Where its processes accept TCP connections, as seen from inside; empty where that is unknown."""
        ...

    def reclaim(self, app_id: str) -> None:
        """Addresses of the app's stopped instances may be given out again.

        Called when every router has acknowledged a table without them.
        """

    async def sweep(self, app_id: str | None = None) -> None:
        """Remove one-offs: all of an app, or (None) those whose control plane died, detached ones left out."""

    async def one_offs(self, app_id: str | None = None) -> Sequence[Instance]:
        """Return this server's attached and detached one-offs in every state; `stop` stops and removes one."""
        ...

    async def run_attached(self, manifest: Manifest, one_off: OneOff) -> tuple[Instance, Attachment]:
        """Start a one-off joined to the caller. Its output is kept nowhere.

        Raises:
            EngineError: the image is missing, the engine is down, no address is left.
        """
        ...

    async def run_detached(self, manifest: Manifest, one_off: OneOff) -> Instance:
        """Start a one-off that outlives the caller; its output is in `logs`. Whoever calls removes it.

        Raises:
            EngineError: the image is missing, the engine is down, no address is left.
        """
        ...

    async def execute(
        self,
        instance: Instance,
        command: tuple[str, ...],
        terminal: Terminal | None,
        environment: Mapping[str, str],
    ) -> Attachment:
        """Start a process inside a running instance, joined to the caller.

        Raises:
            EngineError: it does not run, or the engine is down.
        """
        ...

    async def run(
        self, manifest: Manifest, command: tuple[str, ...], output: Announce, timeout: float
    ) -> int:
        """Run a one-off in the release's image and environment; returns its exit code. Removed afterwards.

        Raises:
            TimeoutError: it ran for longer than `timeout` seconds and was killed.
            EngineError: it could not be started or followed.
        """
        ...

    def logs(
        self, instance: Instance, since: datetime | None, *, follow: bool, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """Lines after `since` (all for None), then as they come when `follow`; ends with the instance.

        With `tail`, begins at the last `tail` lines. Close it (`aclose`) when leaving early.
        """
        ...

    def events(self) -> AsyncGenerator[Event, None]:
        """Events of this server's instances, one-off ones left out, from this call on.

        Raises:
            EngineError: the stream broke; list everything after following it again.
        """
        ...

    async def check(self) -> None:
        """Raise EngineError when the engine cannot be used."""

    async def close(self) -> None:
        """Release connections and threads."""


@dataclass(frozen=True)
class Target:
    """A verified instance that may receive requests."""

    instance_id: str
    name: str
    host: str
    port: int


class Routes(Protocol):
    """The deployer's view of the router."""

    async def swap(self, app_id: str, targets: Sequence[Target]) -> None:
        """Send new requests to `targets` only; returns when every live router worker has said so.

        A silent worker delays this up to the implementation's limit, then it raises.

        Raises:
            RoutesError: no router acknowledged in time.
        """

    async def drained(self, app_id: str, instance_ids: Sequence[str], timeout: float) -> bool:
        """Wait until no request is in flight to these instances; False when `timeout` came first."""
        ...


class RoutesError(Exception):
    """The router did not acknowledge a table in time."""


class DesiredState(Protocol):
    """What should run, as the owner's database says."""

    async def apps(self) -> Sequence[str]:
        """Ids of the apps that have a live release."""
        ...

    async def live(self, app_id: str) -> Manifest | None:
        """Return the app's live release with its current scale; None when nothing of the app should run."""
        ...

    async def busy(self, app_id: str) -> bool:
        """Whether a roll-out, scale, restart or destroy of the app is under way."""
        ...
