"""A client's terminal: its size and signals, and a plain line discipline until a command takes the terminal over.

A client asks for a terminal before it says for what, so everyone who asks is granted one. Its own terminal is raw
from then on. A command that knows nothing of terminals gets what a driver would do for it: lines end as they should,
Ctrl-C ends the command, Ctrl-D its input. One that takes the terminal over gets every byte as it is.
"""

import asyncio
import re
from collections import deque

from gitserver.ports import Terminal

_KIND = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,62}")
_UNKNOWN_KIND = "dumb"
_MOST = 65_535
_SIGNALS_KEPT = 16
_SIGNALS = frozenset({"HUP", "INT", "KILL", "QUIT", "TERM", "USR1", "USR2"})
_INTERRUPT, _END = b"\x03", b"\x04"


class TerminalState:
    """One session's terminal, if it has one, and the signals the client sends."""

    def __init__(self) -> None:
        self.current: Terminal | None = None
        self.interrupted = asyncio.Event()
        """Ctrl-C was typed while no command had the terminal."""
        self._taken = False
        self._resized = asyncio.Event()
        self._signals: deque[str] = deque(maxlen=_SIGNALS_KEPT)
        self._signalled = asyncio.Event()

    # What the client does.

    def grant(self, kind: str, columns: int, rows: int) -> None:
        """The client has a terminal."""
        known = kind if _KIND.fullmatch(kind) else _UNKNOWN_KIND
        self.current = Terminal(known, min(columns, _MOST), min(rows, _MOST))

    def resize(self, columns: int, rows: int) -> None:
        """The client's window has another size."""
        if self.current is not None:
            self.current = Terminal(self.current.kind, min(columns, _MOST), min(rows, _MOST))
            self._resized.set()

    def signal(self, name: str) -> None:
        """The client sends a signal; one that nobody waits for is kept."""
        if name in _SIGNALS:
            self._signals.append(name)
            self._signalled.set()

    # What the session's other parts do.

    @property
    def cooked(self) -> bool:
        """Whether there is a terminal that no command has taken over."""
        return self.current is not None and not self._taken

    def take(self) -> Terminal | None:
        """Leave the terminal to a command; None when there is none."""
        self._taken = True
        return self.current

    def typed(self, data: bytes) -> tuple[bytes, bool]:
        """What a command reads of typed bytes, and whether its input ends there."""
        if not self.cooked:
            return data, False
        if _INTERRUPT in data:
            self.interrupted.set()
            data = data.rpartition(_INTERRUPT)[2]
        data, end, _ = data.partition(_END)
        return data.replace(b"\r", b"\n"), bool(end)

    def shown(self, data: bytes) -> bytes:
        """What a command's output is on the client's raw terminal."""
        return data.replace(b"\n", b"\r\n") if self.cooked else data

    async def resized(self) -> Terminal:
        """Return the terminal as it is after its next change of size."""
        await self._resized.wait()
        self._resized.clear()
        assert self.current is not None
        return self.current

    async def signalled(self) -> str:
        """Return the next signal's name, without `SIG`."""
        await self._signalled.wait()
        name = self._signals.popleft()
        if not self._signals:
            self._signalled.clear()
        return name
