"""From started to ready: polls an instance from outside and says why it never got there."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_address

from deployer.failures import Cause
from deployer.manifest import Health
from deployer.ports import Address, Engine, EngineError, Instance
from deployer.probe import Probe, greet, probe


@dataclass(frozen=True)
class Pace:
    """How often a booting instance is looked at; seconds."""

    fast: float = 0.01
    fast_for: float = 2.0
    slow: float = 0.1
    diagnose_every: float = 1.0
    loopback_looks: int = 3
    """A listener on loopback only is certain after so many looks in a row; the boot limit is not awaited."""

    def delay(self, elapsed: float) -> float:
        """Seconds until the next look."""
        return self.fast if elapsed < self.fast_for else self.slow


class NotReadyError(Exception):
    """Raised when an instance runs, and did not become ready."""

    def __init__(self, cause: Cause, detail: str, last_probe: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.last_probe = last_probe


class Boot:
    """Waits for one routed instance. `port` is what its `$PORT` says."""

    def __init__(self, engine: Engine, instance: Instance, health: Health, port: int, pace: Pace) -> None:
        self._engine = engine
        self._instance = instance
        self._health = health
        self._port = port
        self._pace = pace
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._next_diagnosis = pace.fast_for
        self._loopback_looks = 0

    async def ready(self) -> Probe:
        """Return the first good look.

        Raises:
            NotReadyError: the boot limit passed, or it certainly listens on loopback only.
        """
        address = self._instance.address
        if address is None:
            raise NotReadyError("never-bound", "It has no address.", "no address")
        while True:
            seen = await self._look(address)
            if seen.ready:
                return seen
            if self._left() <= 0 or await self._on_loopback(seen):
                raise await self._diagnose(seen)
            await asyncio.sleep(max(0, min(self._pace.delay(self._elapsed()), self._left())))

    def _elapsed(self) -> float:
        return self._loop.time() - self._began

    def _left(self) -> float:
        return self._health.boot_timeout - self._elapsed()

    async def _look(self, address: Address) -> Probe:
        left = max(self._left(), 0.05)
        if self._health.path is None:
            return await greet(address, self._health, patience=left)
        return await probe(
            address, replace(self._health, probe_timeout=min(self._health.probe_timeout, left))
        )

    async def _on_loopback(self, seen: Probe) -> bool:
        if seen.accepted or self._elapsed() < self._next_diagnosis:
            return False
        self._next_diagnosis = self._elapsed() + self._pace.diagnose_every
        found = _on_port(await self._listeners(), self._port)
        self._loopback_looks = self._loopback_looks + 1 if found and all(map(_loopback, found)) else 0
        return self._loopback_looks >= self._pace.loopback_looks

    async def _diagnose(self, seen: Probe) -> NotReadyError:
        limit = f"{self._health.boot_timeout:g} s"
        if seen.accepted:
            return NotReadyError("unhealthy", f"It was not healthy within {limit}: {seen.text}.", seen.text)
        listeners = await self._listeners()
        cause, detail = _explain(listeners, self._port, limit)
        return NotReadyError(cause, detail, seen.text)

    async def _listeners(self) -> Sequence[Address]:
        try:
            return await self._engine.listening(self._instance)
        except EngineError:
            return ()


def _explain(listeners: Sequence[Address], port: int, limit: str) -> tuple[Cause, str]:
    here = _on_port(listeners, port)
    if here and all(map(_loopback, here)):
        where = f"{here[0].host}:{port}"
        return (
            "bound-to-loopback",
            f"It listens on {where}, which nothing outside reaches; bind 0.0.0.0:$PORT.",
        )
    if listeners and not here:
        where = ", ".join(f"{item.host}:{item.port}" for item in listeners[:5])
        return "wrong-port", f"It listens on {where}, but $PORT is {port}."
    return "never-bound", f"Nothing accepted connections on $PORT ({port}) within {limit}."


def _on_port(listeners: Sequence[Address], port: int) -> list[Address]:
    return [item for item in listeners if item.port == port]


def _loopback(address: Address) -> bool:
    return ip_address(address.host).is_loopback
