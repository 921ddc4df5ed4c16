"""Processes inside running containers, joined to a caller."""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import docker
import structlog

from deployer.docker.attach import StreamAttachment, upgrade
from deployer.docker.errors import GoneError
from deployer.docker.streams import Streams
from deployer.ports import EngineError, Outcome, Stream, Terminal

T = TypeVar("T")

SHELL = "/bin/sh"
HANG_UP_SECONDS = 5.0
_SETTLE_SECONDS = 10.0
_POLL_SECONDS = 0.02
NOT_FOUND = 127
_REFUSED = b"OCI runtime exec failed: exec failed: "
_NOT_THERE = (b"executable file not found", b"no such file or directory")
KILLED = 128 + signal.SIGKILL
# The size of a terminal can be set only once its process runs. A program that asks at once must not see none.
_AWAIT_SIZE = (
    'n=0; while [ "$(stty size 2>/dev/null)" = "0 0" ] && [ $n -lt 40 ]; do n=$((n+1)); sleep 0.05; done; '
    'exec "$@"'
)
_SEND = 'kill -s "$1" -- "-$2" 2>/dev/null || kill -s "$1" "$2"'

log = structlog.get_logger()


class Call(Protocol):
    """Runs an SDK call in a thread of the engine's and translates its errors."""

    def __call__(self, work: Callable[[docker.APIClient], T]) -> Awaitable[T]:
        """Return what the call returns."""
        ...


@dataclass(frozen=True)
class Tools:
    """What the engine lends."""

    socket: Path
    streams: Streams
    call: Call


def waits_for_size(command: tuple[str, ...]) -> tuple[str, ...]:
    """The same command, started when its terminal has a size."""
    return (SHELL, "-c", _AWAIT_SIZE, "sh", *command)


def environment(terminal: Terminal | None) -> dict[str, str]:
    """What a terminal adds to a process's environment."""
    return {"TERM": terminal.kind} if terminal else {}


async def execute(
    tools: Tools,
    container_id: str,
    command: tuple[str, ...],
    terminal: Terminal | None,
    environ: Mapping[str, str],
) -> StreamAttachment:
    """Start a process inside a running container, joined to the caller.

    Raises:
        EngineError: the container does not run.
    """
    tty = terminal is not None
    if tty and await tools.streams.has_file(container_id, SHELL):
        command = waits_for_size(command)
    made = await tools.call(
        lambda api: api.exec_create(
            container_id, list(command), stdin=True, tty=tty, environment={**environ, **environment(terminal)}
        )
    )
    connection = await upgrade(tools.socket, f"/exec/{made['Id']}/start", {"Detach": False, "Tty": tty})
    control = ExecControl(tools, container_id, made["Id"])
    try:
        if terminal is not None:
            await control.resize(terminal.columns, terminal.rows)
    except BaseException:
        await connection.close()
        raise
    return ExecAttachment(connection, control, terminal=tty)


class ExecAttachment(StreamAttachment):
    """A process whose start the engine may have refused, which it tells as if the process had said it."""

    _began = False
    _refusal = b""

    async def read(self) -> tuple[Stream, bytes] | None:
        """Return the next piece of output, None at its end."""
        piece = await super().read()
        first, self._began = not self._began, True
        if first and piece is not None and piece[1].startswith(_REFUSED):
            self._refusal = piece[1]
            return await super().read()
        return piece

    async def wait(self) -> Outcome:
        """Return how the process ended; a program that is not there is 127, as a shell has it."""
        outcome = await super().wait()
        if not self._refusal:
            return outcome
        if any(text in self._refusal for text in _NOT_THERE):
            return Outcome(NOT_FOUND)
        raise EngineError(self._refusal.decode(errors="replace").strip())


class ExecControl:
    """A process in a container that goes on without it. The engine cannot end it, so its container is asked to."""

    def __init__(self, tools: Tools, container_id: str, exec_id: str) -> None:
        self._tools = tools
        self._container = container_id
        self._id = exec_id

    async def _inspect(self) -> dict[str, Any]:
        found: dict[str, Any] = await self._tools.call(lambda api: api.exec_inspect(self._id))
        return found

    async def resize(self, columns: int, rows: int) -> None:
        """Change its terminal's size; one that has ended, or not begun, has none."""
        for _ in range(10):
            with suppress(EngineError):
                await self._tools.call(lambda api: api.exec_resize(self._id, rows, columns))
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def signal(self, name: str) -> None:
        """Send the process and its group a signal, from inside the container."""
        with suppress(EngineError):
            pid = await asyncio.to_thread(_inner_pid, (await self._inspect())["Pid"])
            if pid is None:
                log.warning("a process in a container cannot be found", container=self._container[:12])
                return
            await self._run_inside([SHELL, "-c", _SEND, "sh", name, str(pid)])

    async def _run_inside(self, command: list[str]) -> None:
        made = await self._tools.call(lambda api: api.exec_create(self._container, command))
        await self._tools.call(lambda api: api.exec_start(made["Id"], detach=True))

    async def outcome(self) -> Outcome:
        """Wait for the end; the output's end comes a moment before it."""
        while True:
            try:
                found = await self._inspect()
            except GoneError:
                return Outcome(KILLED)
            if not found["Running"] and found["ExitCode"] is not None:
                return Outcome(int(found["ExitCode"]))
            await asyncio.sleep(_POLL_SECONDS)

    async def end(self) -> None:
        """Hang up, then kill. A container that is gone took its processes along."""
        with suppress(EngineError):
            for name, seconds in (("HUP", HANG_UP_SECONDS), ("KILL", _SETTLE_SECONDS)):
                if not (await self._inspect())["Running"]:
                    return
                await self.signal(name)
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await self.outcome()


def _inner_pid(pid: int) -> int | None:
    """A process's id inside its own namespace (proc_pid_status(5)); None where the kernel does not let us look."""
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name == "NSpid":
                return int(value.split()[-1])
    except (OSError, ValueError, IndexError):
        pass
    return None
