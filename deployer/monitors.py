"""The monitors of everything that is routed, one an instance."""

import asyncio
from collections.abc import Callable, Sequence

from deployer.boot import Pace
from deployer.manifest import Health
from deployer.monitor import Monitor, Verdict, Vigilance
from deployer.ports import Instance


class Monitors:
    """Keeps exactly one monitor for each routed instance of each app."""

    def __init__(self, pace: Pace, vigilance: Vigilance) -> None:
        self._pace = pace
        self._vigilance = vigilance
        self._apps: dict[str, dict[str, Monitor]] = {}

    async def follow(
        self, app_id: str, routed: Sequence[Instance], health: Health, changed: Callable[[], None]
    ) -> None:
        """Watch these instances of the app and no others."""
        now = self._apps.setdefault(app_id, {})
        # Some engines start an ended instance again by themselves, at another address.
        addresses = {item.id: item.address for item in routed}
        gone = [found for found, monitor in now.items() if addresses.get(found) != monitor.address]
        await self._close([now.pop(found) for found in gone])
        for item in routed:
            if item.id not in now and item.address is not None:
                now[item.id] = Monitor(item.address, health, changed, self._pace, self._vigilance)
        if not now:
            del self._apps[app_id]

    async def forget(self, instance: Instance) -> None:
        """Begin anew with this instance: it has been started again."""
        monitor = self._apps.get(instance.app_id, {}).pop(instance.id, None)
        if monitor:
            await monitor.close()

    def verdict(self, instance: Instance) -> Verdict:
        """Return what is thought of an instance; `PENDING` for one that is not watched."""
        monitor = self._apps.get(instance.app_id, {}).get(instance.id)
        return monitor.verdict if monitor else Verdict.PENDING

    def last(self, instance: Instance) -> str:
        """Return what was seen last."""
        monitor = self._apps.get(instance.app_id, {}).get(instance.id)
        return monitor.last if monitor else ""

    async def close(self) -> None:
        """Stop watching everything."""
        await self._close([monitor for app in self._apps.values() for monitor in app.values()])
        self._apps.clear()

    @staticmethod
    async def _close(monitors: Sequence[Monitor]) -> None:
        await asyncio.gather(*[monitor.close() for monitor in monitors])
