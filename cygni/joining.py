"""Joins the ends of a command to a process: input, output, terminal, signals, until the process has ended."""

import asyncio
from typing import TYPE_CHECKING, Any, Protocol

from cygni.engine_errors import explained
from deployer.ports import Attachment, Outcome
from gitserver.ports import Terminal

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

_CHUNK = 1 << 16


class Ends(Protocol):
    """A command's ends, as far as a process needs them."""

    async def read(self, limit: int) -> bytes:
        """Up to `limit` bytes of input, empty at its end."""
        ...

    async def out(self, data: bytes) -> None:
        """Output."""

    async def err(self, data: bytes) -> None:
        """Errors."""

    @property
    def terminal(self) -> Terminal | None:
        """The terminal as it is now."""
        ...

    async def resized(self) -> Terminal:
        """The terminal after its next change of size."""
        ...

    async def signalled(self) -> str:
        """The next signal's name, without `SIG`."""
        ...


async def join(ends: Ends, attachment: Attachment, size: tuple[int, int] | None) -> Outcome:
    """Carry everything both ways; return how the process ended.

    Args:
        ends: the person's.
        attachment: the process's.
        size: columns and rows of the terminal that the process was started with, None without one.

    Raises:
        ConnectionError: the person has left.
        UserError: the engine broke off.
    """
    window = _Window(ends, attachment, size) if size else None
    helpers: list[Coroutine[Any, Any, None]] = [_feed(ends, attachment, window), _signals(ends, attachment)]
    if window is not None:
        helpers.append(_sizes(ends, window))
    tasks = [asyncio.create_task(helper) for helper in helpers]
    try:
        with explained():
            await _show(ends, attachment)
            return await attachment.wait()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _show(ends: Ends, attachment: Attachment) -> None:
    sinks: dict[str, Callable[[bytes], Awaitable[None]]] = {"stdout": ends.out, "stderr": ends.err}
    while (piece := await attachment.read()) is not None:
        stream, data = piece
        await sinks[stream](data)


class _Window:
    """Keeps the process's terminal as large as the person's."""

    def __init__(self, ends: Ends, attachment: Attachment, fitted: tuple[int, int]) -> None:
        self._ends = ends
        self._attachment = attachment
        self._fitted = fitted
        self._fitting = asyncio.Lock()

    async def fit(self) -> None:
        """Give the process the person's present size, if it has another."""
        async with self._fitting:
            now = self._ends.terminal
            if now is not None and (now.columns, now.rows) != self._fitted:
                self._fitted = now.columns, now.rows
                await self._attachment.resize(*self._fitted)


async def _feed(ends: Ends, attachment: Attachment, window: _Window | None) -> None:
    while data := await ends.read(_CHUNK):
        if window is not None:  # what is typed into a window of a new size is read in it
            await window.fit()
        await attachment.write(data)
    await attachment.write_eof()


async def _sizes(ends: Ends, window: _Window) -> None:
    while True:
        await ends.resized()
        await window.fit()


async def _signals(ends: Ends, attachment: Attachment) -> None:
    while True:
        await attachment.signal(await ends.signalled())
