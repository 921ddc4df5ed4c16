"""A person at a terminal: a program under a pseudo-terminal of its own, typed at and read from."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import signal
import struct
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

PATIENCE = 30


class Person:
    """Runs a program under a pseudo-terminal and keeps what it shows."""

    def __init__(
        self, command: Sequence[str], env: Mapping[str, str], columns: int = 80, rows: int = 24
    ) -> None:
        self._command, self._env = command, env
        self._size = (columns, rows)
        self.shown = b""
        self._grown = asyncio.Event()

    async def __aenter__(self) -> Self:
        self._master, slave = pty.openpty()
        self.resize(*self._size)
        self._loop = asyncio.get_running_loop()
        self._process = await asyncio.create_subprocess_exec(
            *self._command, env=self._env, stdin=slave, stdout=slave, stderr=slave, preexec_fn=_take_terminal
        )
        os.close(slave)
        os.set_blocking(self._master, False)
        self._loop.add_reader(self._master, self._read)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.vanish()
        await self._process.wait()

    def vanish(self) -> None:
        """Close the terminal's window: the program is killed, its terminal is gone."""
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
        if self._master >= 0:
            self._loop.remove_reader(self._master)
            os.close(self._master)
            self._master = -1

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:  # the program has ended
            self._loop.remove_reader(self._master)
            data = b""
        self.shown += data
        self._grown.set()

    def resize(self, columns: int, rows: int) -> None:
        """Change the window's size; the kernel tells the program."""
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    async def sees(self, text: str) -> str:
        """Wait until this is shown; return what came before it and forget both."""
        try:
            async with asyncio.timeout(PATIENCE):
                while text.encode() not in self.shown:
                    self._grown.clear()
                    assert self._process.returncode is None or text.encode() in self.shown, self.shown
                    await self._grown.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} is not shown: {self.shown!r}") from None
        before, _, self.shown = self.shown.partition(text.encode())
        return before.decode(errors="replace")

    async def ended(self) -> int:
        async with asyncio.timeout(PATIENCE):
            return await self._process.wait()


def _take_terminal() -> None:
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
