"""An event loop in which time passes only when nothing else can be done, and nothing runs in a thread.

Timers of minutes take no time, blocking work is done in place, and what happens in which order is decided by the dice
alone, so a run with the same seed is (but for addresses of objects in memory) the same run.
"""

import asyncio
import random
import selectors
from collections.abc import Callable
from typing import Any

DELAYS = (0.0, 0.0, 0.0, 0.0, 0.0, 0.001, 0.02)
"""Seconds between the end of blocking work and the moment that its caller hears of it."""


class StuckError(Exception):
    """Everything waits for something that will never happen."""


class _Selector(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Never waits: it moves the clock to the next timer instead."""

    loop: "SimulatedLoop"

    def select(self, timeout: float | None = None) -> Any:
        found = super().select(0)
        if found or timeout == 0:
            return found
        if timeout is None:
            raise StuckError("every task waits, and no timer is set")
        self.loop.now += timeout
        return found


class SimulatedLoop(asyncio.SelectorEventLoop):
    """`now` is its clock, in seconds; `rounds` counts how often it ran what was ready."""

    def __init__(self, dice: random.Random) -> None:
        self.now = 0.0
        self.rounds = 0
        self.dice = dice
        self._alarm: tuple[int, asyncio.Future[None]] | None = None
        selector = _Selector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Do it now; the caller hears of it later."""
        del executor
        future = self.create_future()
        self.deliver(future, lambda: func(*args))
        return future

    def deliver(self, future: "asyncio.Future[Any] | None", work: Callable[[], Any]) -> None:
        """Do the work now and settle the future a moment later."""
        try:
            result, error = work(), None
        except Exception as raised:
            result, error = None, raised
        if future is None:
            return
        if delay := self.dice.choice(DELAYS):
            self.call_later(delay, _settle, future, result, error)
        else:
            self.call_soon(_settle, future, result, error)

    async def after(self, rounds: int) -> None:
        """Wait for so many rounds of the loop, however little time they take."""
        future = self.create_future()
        self._alarm = (self.rounds + rounds, future)
        await future

    def _run_once(self) -> None:
        self.rounds += 1
        if self._alarm is not None and self.rounds >= self._alarm[0]:
            _settle(self._alarm[1], None, None)
            self._alarm = None
        super()._run_once()  # type: ignore[misc]


def _settle(future: "asyncio.Future[Any]", result: Any, error: Exception | None) -> None:
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)
