"""A caller joined to a simulated process."""

import signal as signals
from collections.abc import Callable

from deployer.memory.container import KILLED, Container
from deployer.memory.program import Program
from deployer.ports import Outcome, Stream

_SIGNALLED = 128


class MemoryAttachment:
    """Implements the Attachment port: output is what the container prints, input what it may echo."""

    def __init__(self, container: Container, program: Program, discard: Callable[[], None]) -> None:
        self._container = container
        self._program = program
        self._discard = discard
        self._shown = 0
        self._rest = b""
        self.sizes: list[tuple[int, int]] = []

    async def read(self) -> tuple[Stream, bytes] | None:
        """Return the next line, None at the end."""
        lines = self._container.lines
        while self._shown == len(lines):
            if self._container.state != "running":
                return None
            await self._container.pulse.wait()
        line = lines[self._shown]
        self._shown += 1
        return line.stream, line.text.encode() + b"\n"

    async def write(self, data: bytes) -> None:
        """Let the process read."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if self._program.echoes and self._container.state == "running":
            for line in lines:
                self._container.say(line.decode(errors="replace"))

    async def write_eof(self) -> None:
        """End the process's input."""
        if self._program.echoes:
            self._container.end(self._program.exit_code)

    async def resize(self, columns: int, rows: int) -> None:
        """Remember the size."""
        self.sizes.append((columns, rows))

    async def signal(self, name: str) -> None:
        """End the process as this signal would."""
        self._container.end(_SIGNALLED + signals.Signals[f"SIG{name}"])

    async def wait(self) -> Outcome:
        """Return how the process ended."""
        await self._container.ended()
        code = self._container.exit_code
        return Outcome(KILLED if code is None else code, self._container.out_of_memory)

    async def end(self) -> None:
        """End the process and forget it."""
        self._container.end(_SIGNALLED + signals.SIGHUP)
        self._discard()
