"""One simulated container: a program that runs, prints, answers and ends."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from deployer.manifest import Manifest, Resources
from deployer.memory.program import Program
from deployer.memory.web import Web
from deployer.ports import Address, Exit, Instance, LogLine, State
from deployer.pulse import Pulse

KILLED = 137
ADDRESS_TAKEN = 98
_TICK = timedelta(microseconds=1)


@dataclass(frozen=True)
class Birth:
    """What a container is made with and keeps."""

    id: str
    server: str
    manifest: Manifest = field(repr=False)
    process: str
    number: int
    generation: int
    program: Program
    host: str
    routed: bool
    one_off: Literal["attached", "detached", "release-phase"] | None = None


class Container:
    """States as a real one has them: made, running, exited, running again. `told` hears what happens to it.

    A program that neither prints, binds nor ends costs no task, so that thousands are cheap.
    """

    def __init__(
        self, birth: Birth, told: Callable[["Container", Literal["start", "die", "oom"]], None]
    ) -> None:
        self.birth = birth
        self.state: State = "starting"
        self.started_at: datetime | None = None
        self.finished_at: datetime | None = None
        self.exit_code: int | None = None
        self.out_of_memory = False
        self.last_exit: Exit | None = None
        self.gone = False
        self.lines: list[LogLine] = []
        self.pulse = Pulse()
        self._told = told
        self._web: Web | None = None
        self._listening: tuple[Address, ...] = ()
        self._tasks: set[asyncio.Task[None]] = set()

    def instance(self, restarts: int, *, stopping: bool) -> Instance:
        """Return what an engine says about it."""
        birth = self.birth
        return Instance(
            id=birth.id,
            app_id=birth.manifest.app_id,
            app=birth.manifest.app,
            release=birth.manifest.release,
            process=birth.process,
            number=birth.number,
            state="stopping" if stopping else self.state,
            address=Address(birth.host, birth.manifest.port) if birth.routed else None,
            started_at=self.started_at,
            finished_at=self.finished_at,
            exit_code=self.exit_code,
            out_of_memory=self.out_of_memory,
            restarts=restarts,
            generation=birth.generation,
            last_exit=self.last_exit,
            one_off=None if birth.one_off == "release-phase" else birth.one_off,
        )

    @property
    def memory_limit(self) -> int:
        """Bytes that it may use."""
        processes = self.birth.manifest.processes
        found = [item.resources for item in processes if item.type == self.birth.process]
        return (found[0] if found else Resources()).memory_bytes

    @property
    def listening(self) -> tuple[Address, ...]:
        """Where it accepts, as seen from inside."""
        return self._listening

    def start(self) -> None:
        """Run the program from its beginning."""
        self.state, self.started_at = "running", datetime.now(UTC)
        self.finished_at = self.exit_code = None
        self.out_of_memory = False
        self._told(self, "start")
        self.pulse.beat()
        program = self.birth.program
        if self.birth.routed or program.lines or program.exit_after is not None:
            self._spawn(self._play())

    def say(self, text: str, stream: Literal["stdout", "stderr"] = "stdout") -> None:
        """Print a line; no two of a container have the same time, so that a position is a time."""
        at = datetime.now(UTC)
        if self.lines and at <= self.lines[-1].at:
            at = self.lines[-1].at + _TICK
        self.lines.append(LogLine(at, stream, text))
        self.pulse.beat()

    def end(self, exit_code: int, *, out_of_memory: bool = False) -> None:
        """End at once, as by a crash or a kill."""
        if self.state != "running":
            return
        self.state, self.exit_code, self.out_of_memory = "exited", exit_code, out_of_memory
        self.finished_at = datetime.now(UTC)
        self.deafen()
        for task in self._tasks - {asyncio.current_task()}:
            task.cancel()
        if out_of_memory:
            self._told(self, "oom")
        self._told(self, "die")
        self.pulse.beat()

    def deafen(self) -> None:
        """Accept no more and break every connection."""
        self._listening = ()
        if self._web is not None:
            self._web.cut()
            self._web = None

    async def terminate(self, timeout: float) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds; returns when it has ended."""
        if self.state == "running":
            self._spawn(self._obey())
        try:
            async with asyncio.timeout(timeout):
                await self.ended()
        except TimeoutError:
            self.end(KILLED)

    async def ended(self) -> None:
        """Wait until it does not run."""
        while self.state == "running":
            await self.pulse.wait()

    def remove(self) -> None:
        """Kill it if it runs; nobody finds it any more."""
        self.end(KILLED)
        self.gone = True
        self.pulse.beat()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _obey(self) -> None:
        """What SIGTERM does: no new connections, answers to requests under way, the end."""
        program = self.birth.program
        if program.stop_after is None:
            return
        if self._web is not None:
            self._listening = ()
            self._web.refuse()
            await self._web.closed()
        await asyncio.sleep(program.stop_after)
        self.end(program.exit_code)

    async def _play(self) -> None:
        program = self.birth.program
        for line in program.lines:
            self.say(line)
            await asyncio.sleep(program.line_every)
        if self.birth.routed:
            await asyncio.sleep(program.bind_after)
            await self._bind()
        if program.exit_after is not None:
            await asyncio.sleep(program.exit_after)
            self.end(
                KILLED if program.out_of_memory else program.exit_code, out_of_memory=program.out_of_memory
            )

    async def _bind(self) -> None:
        birth, program, port = self.birth, self.birth.program, self.birth.manifest.port
        if program.bind == "nothing":
            return
        if program.bind != "all":
            other = Address("0.0.0.0", port + 1)  # noqa: S104 - what it says, nothing is bound
            self._listening = (Address("127.0.0.1", port) if program.bind == "loopback" else other,)
            return
        name = f"{birth.process}.{birth.number}"
        web = Web(
            f"{birth.manifest.app} v{birth.manifest.release} {name}", program.status, program.answer_after
        )
        try:
            await web.listen(birth.host, port)
        except OSError as error:
            self.say(str(error), "stderr")
            self.end(ADDRESS_TAKEN)
            return
        self._web, self._listening = web, (Address(birth.host, port),)
