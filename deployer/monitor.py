"""Looks at one serving instance for as long as it lives."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

from deployer.boot import Pace
from deployer.manifest import Health
from deployer.ports import Address
from deployer.probe import Probe, probe


class Verdict(StrEnum):
    """What a monitor thinks. Only `READY` belongs in the routes."""

    PENDING = "pending"
    BOOTING = "booting"
    READY = "ready"
    FAILED = "failed"


@dataclass(frozen=True)
class Vigilance:
    """How a serving instance is checked; seconds."""

    interval: float = 10.0
    failures: int = 3
    """So many bad looks in a row take it out of the rotation."""
    retry: float = 1.0
    """Between a bad look and the next one."""
    first_look: float = 1.0
    """The first look decides quickly: others wait for its verdict."""


class Monitor:
    """Probes an address; calls `changed` whenever the verdict changes. `last` says what was seen last."""

    def __init__(
        self, address: Address, health: Health, changed: Callable[[], None], pace: Pace, vigilance: Vigilance
    ) -> None:
        self.verdict = Verdict.PENDING
        self.last = ""
        self.address = address
        self._health = health
        self._changed = changed
        self._pace = pace
        self._vigilance = vigilance
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Stop looking."""
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        await self._boot()
        if self.verdict is Verdict.READY:
            await self._watch()

    async def _boot(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        limit = min(self._vigilance.first_look, self._health.probe_timeout)
        while not (await self._look(limit)).ready:
            elapsed = loop.time() - began
            if elapsed > self._health.boot_timeout:
                return self._conclude(Verdict.FAILED)
            self._conclude(Verdict.BOOTING)
            await asyncio.sleep(self._pace.delay(elapsed))
            limit = self._health.probe_timeout
        return self._conclude(Verdict.READY)

    async def _watch(self) -> None:
        bad = 0
        while bad < self._vigilance.failures:
            await asyncio.sleep(self._pause(bad))
            seen = await self._look(self._health.probe_timeout)
            bad = 0 if seen.ready else bad + 1
        self._conclude(Verdict.FAILED)

    def _pause(self, bad: int) -> float:
        seconds = self._vigilance.retry if bad else self._vigilance.interval
        return seconds * random.uniform(0.8, 1.2)  # noqa: S311

    async def _look(self, limit: float) -> Probe:
        seen = await probe(self.address, replace(self._health, probe_timeout=limit))
        self.last = seen.text
        return seen

    def _conclude(self, verdict: Verdict) -> None:
        if verdict is not self.verdict:
            self.verdict = verdict
            self._changed()
