"""Child processes: limits, exact descriptors, a process group of their own, no thread each.

`posix_spawn` sets up descriptors and the group without running Python in the child, so threads of the server
are no hazard; `prlimit` (util-linux) sets the limits before the program starts; a pidfd tells of its end.
"""

import asyncio
import contextlib
import os
import shutil
import signal
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from gitserver.pipes import DescriptorPair, PipeReader, PipeWriter

SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_TERM_SECONDS = 3.0
_STDERR = 2


@dataclass(frozen=True)
class ResourceLimits:
    """What one process of a child may use; file size and memory in bytes, CPU in seconds."""

    memory: int = 1 << 30
    cpu: int = 300
    file_size: int = 4 << 30
    open_files: int = 256

    def command(self) -> list[str]:
        """Return the launcher that sets these limits and then becomes the program."""
        launcher = shutil.which("prlimit", path=SAFE_PATH) or "prlimit"
        return [
            launcher,
            f"--as={self.memory}",
            f"--cpu={self.cpu}",
            f"--fsize={self.file_size}",
            f"--nofile={self.open_files}",
            "--core=0",
            "--",
        ]


class Child:
    """A running child process and its pipes."""

    def __init__(self, pid: int, stdin: PipeWriter, stdout: PipeReader, stderr: PipeReader) -> None:
        self.pid = pid
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[int] = self._loop.create_future()
        self._pidfd = os.pidfd_open(pid)
        self._loop.add_reader(self._pidfd, self._reap)

    @classmethod
    async def spawn(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        limits: ResourceLimits,
        extra: Mapping[int, int] | None = None,
    ) -> "Child":
        """Start `command` under `limits`.

        Args:
            command: the argument list; the program is found on `SAFE_PATH`.
            env: the whole environment.
            limits: set before the program starts, inherited by all its children.
            extra: further descriptors, as number in the child to ours; ours stay open.

        Raises:
            OSError: the program cannot be started, or descriptors have run out.
        """
        async with AsyncExitStack() as undo:
            stdin, stdout, stderr = (_undone(undo, DescriptorPair()) for _ in range(3))
            # Everything that can wait comes before the start, so that a cancelled caller leaves no child behind.
            writer = await PipeWriter.connect(stdin.take_writing())
            undo.callback(writer.abort)
            out = await PipeReader.connect(stdout.take_reading())
            undo.callback(out.close)
            err = await PipeReader.connect(stderr.take_reading())
            undo.callback(err.close)
            given = {0: stdin.reading, 1: stdout.writing, 2: stderr.writing, **(extra or {})}
            pid = _start([*limits.command(), *command], env, given)
            undo.pop_all()
        for pipe in (stdin, stdout, stderr):
            pipe.close()
        return cls(pid, writer, out, err)

    def _reap(self) -> None:
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        # The leader is a zombie until it is reaped, so its group id cannot belong to anyone else yet.
        self._signal(signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self._ended.set_result(os.waitstatus_to_exitcode(status))

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    @property
    def running(self) -> bool:
        """Whether the process has not ended yet."""
        return not self._ended.done()

    async def wait(self) -> int:
        """Return the exit code, negative for a signal; by then nothing of its group is left."""
        return await asyncio.shield(self._ended)

    def kill(self) -> None:
        """Kill the group."""
        if self.running:
            self._signal(signal.SIGKILL)

    async def end(self, grace: float = _TERM_SECONDS) -> int:
        """Ask the group to end, make it end after `grace` seconds, and return the exit code."""
        if self.running:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                return await asyncio.wait_for(self.wait(), grace)
        self.kill()
        return await self.wait()

    def close(self) -> None:
        """Close our ends of the pipes."""
        self.stdin.abort()
        self.stdout.close()
        self.stderr.close()


def _start(command: Sequence[str], env: Mapping[str, str], descriptors: Mapping[int, int]) -> int:
    actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_CLOSE, descriptor) for descriptor in _inheritable()]
    actions += [(os.POSIX_SPAWN_DUP2, ours, theirs) for theirs, ours in sorted(descriptors.items())]
    return os.posix_spawn(
        command[0],
        list(command),
        dict(env),
        file_actions=actions,
        setpgroup=0,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGXFSZ),
    )


def _undone(undo: AsyncExitStack, pipe: DescriptorPair) -> DescriptorPair:
    undo.callback(pipe.close)
    return pipe


def _inheritable() -> list[int]:
    """Descriptors that a child would get by accident, such as listening sockets that were passed to the server."""
    found = []
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - on every start, so no path objects
        with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
            if int(name) > _STDERR and os.get_inheritable(int(name)):
                found.append(int(name))
    return found
