"""What each app's routes point at: the one way to the router, in order, remembered."""

import asyncio
from collections.abc import Sequence
from weakref import WeakValueDictionary

from deployer.ports import Engine, Instance, Routes, RoutesError, Target


class RouteTable:
    """Publishes instances as targets; shared by everything that changes an app's routes.

    Whoever decides on targets holds `lock(app_id)` from looking to publishing, so that an older decision
    never overwrites a newer one.
    """

    def __init__(self, engine: Engine, routes: Routes) -> None:
        self._engine = engine
        self._routes = routes
        self._acknowledged: dict[str, frozenset[Target]] = {}
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def lock(self, app_id: str) -> asyncio.Lock:
        """Return the app's lock."""
        return self._locks.setdefault(app_id, asyncio.Lock())

    def acknowledged(self, app_id: str) -> frozenset[Target] | None:
        """Return the table that every router has, None when that is not known."""
        return self._acknowledged.get(app_id)

    async def publish(self, app_id: str, instances: Sequence[Instance]) -> None:
        """Send new requests to these routed instances only; does nothing when that is so already.

        Raises:
            RoutesError: no router acknowledged in time; the table is unknown until the next success.
        """
        targets = [_target(instance) for instance in instances]
        if self._acknowledged.get(app_id) == frozenset(targets):
            return
        self._acknowledged.pop(app_id, None)
        await self._routes.swap(app_id, targets)
        self._acknowledged[app_id] = frozenset(targets)
        self._engine.reclaim(app_id)

    def reclaim(self, app_id: str) -> None:
        """Give back the addresses of stopped instances, provided that no router can still know them."""
        if app_id in self._acknowledged:
            self._engine.reclaim(app_id)

    async def drained(self, app_id: str, instance_ids: Sequence[str], timeout: float) -> bool:
        """Wait until no request is in flight to these instances; False when `timeout` came first."""
        try:
            return await self._routes.drained(app_id, instance_ids, timeout)
        except RoutesError:
            return False


def _target(instance: Instance) -> Target:
    if instance.address is None:
        raise RoutesError(f"{instance.name} has no verified address")
    return Target(instance.id, instance.name, instance.address.host, instance.address.port)
