"""Takes instances out of service: acknowledged table first, then drain, then stop."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployer.manifest import Manifest
from deployer.ports import Engine, EngineError, Instance, RoutesError
from deployer.routetable import RouteTable

DEFAULT_STOP_TIMEOUT = 30.0


@dataclass(frozen=True)
class Patience:
    """How long leaving instances are waited for; seconds."""

    drain: float = 30.0
    stop: Mapping[str, float] = field(default_factory=dict)
    """Between SIGTERM and SIGKILL, by process type."""

    @classmethod
    def of(cls, manifest: Manifest) -> "Patience":
        """What the release that takes over says; the old release's own words are gone by then."""
        return cls(
            manifest.drain_timeout, {process.type: process.stop_timeout for process in manifest.processes}
        )

    def to_stop(self, instance: Instance) -> float:
        """Seconds this instance gets between SIGTERM and SIGKILL."""
        return self.stop.get(instance.process, DEFAULT_STOP_TIMEOUT)


class Retirement:
    """What is left to do once new instances serve. `problems` are sentences; they undo nothing.

    Not finishing it (a crash, a cancel) loses nothing: the reconciler removes what is not of the live release.
    """

    def __init__(
        self,
        engine: Engine,
        table: RouteTable,
        app_id: str,
        patience: Patience,
        *,
        serving: Sequence[Instance],
        leaving: Sequence[Instance],
        problems: Sequence[str] = (),
    ) -> None:
        self._engine = engine
        self._table = table
        self._app_id = app_id
        self._patience = patience
        self.serving = tuple(serving)
        self.leaving = tuple(leaving)
        self.problems = list(problems)

    async def finish(self) -> tuple[str, ...]:
        """Drain and stop what leaves, all at once; return what went wrong, one sentence each.

        Where no router acknowledged the new table, nothing is stopped: a router might still send requests
        to it. The reconciler goes on from there.
        """
        if self._table.acknowledged(self._app_id) is None:
            return tuple(self.problems)
        await asyncio.gather(*[self._retire(instance) for instance in self.leaving])
        self._table.reclaim(self._app_id)
        return tuple(self.problems)

    async def _retire(self, instance: Instance) -> None:
        if instance.address is not None and not await self._drained(instance):
            self.problems.append(f"{instance.name} still had requests after {self._patience.drain:g} s.")
        try:
            await self._engine.stop(instance, self._patience.to_stop(instance))
        except EngineError as error:
            self.problems.append(f"{instance.name} could not be stopped: {error}")

    async def _drained(self, instance: Instance) -> bool:
        if instance.state == "exited":
            return True
        return await self._table.drained(self._app_id, [instance.id], self._patience.drain)


async def publish(table: RouteTable, app_id: str, instances: Sequence[Instance]) -> list[str]:
    """Publish after the commit point: a router that does not answer is a problem, not a failure."""
    try:
        await table.publish(app_id, [item for item in instances if item.address is not None])
    except RoutesError as error:
        return [f"The router has not confirmed the new routes yet: {error}"]
    return []
