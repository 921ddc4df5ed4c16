"""Moves what runs towards what should run, after crashes, reboots and half-done roll-outs."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing

from deployer.agenda import Agenda
from deployer.backoff import Backoff
from deployer.boot import Pace
from deployer.diff import Diff, compare
from deployer.launch import Slot
from deployer.manifest import Health, Manifest
from deployer.monitor import Verdict, Vigilance
from deployer.monitors import Monitors
from deployer.ports import DesiredState, Engine, EngineError, Instance, Report, RoutesError
from deployer.retirement import Patience, Retirement
from deployer.routetable import RouteTable

log = logging.getLogger(__name__)

KILLED = 137
"""SIGKILL by somebody else than us: not every kernel tells the engine that memory was the reason."""

RECONNECT = 1.0
"""Seconds, times 0.5 to 1.5, before the engine's events are followed again."""
BUSY_RETRY = 2.0
"""Seconds until an app whose deploy lane was busy is looked at again."""


class Reconciler:
    """Looks at one app at a time under its route lock; each look is short, idempotent and safe to interrupt.

    Rules: an app whose deploy lane is busy is left alone, except that crashed instances of its live release
    are started again at their address. Routes get instances that the engine verified and a probe found ready;
    an app's last targets are never taken away because nothing better is there. What is not of the live
    release is removed only after the live release serves and every router knows.
    """

    def __init__(
        self,
        engine: Engine,
        table: RouteTable,
        desired: DesiredState,
        report: Report,
        *,
        backoff: Backoff | None = None,
        poll: float = 30.0,
        parallel: int = 4,
        pace: Pace | None = None,
        vigilance: Vigilance | None = None,
    ) -> None:
        self._engine = engine
        self._table = table
        self._desired = desired
        self._report = report
        self._backoff = backoff or Backoff(asyncio.get_running_loop().time)
        self._poll = poll
        self._parallel = parallel
        self._monitors = Monitors(pace or Pace(), vigilance or Vigilance())
        self._agenda = Agenda()
        self._background: dict[str, asyncio.Task[None]] = {}
        self._told: dict[str, object] = {}

    def mark(self, app_id: str) -> None:
        """Have an app looked at soon, for instance when its deploy lane has become free."""
        self._agenda.mark(app_id)

    async def run(self) -> None:
        """Follow the engine's events and look at everything every `poll` seconds, until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._follow_events())
                group.create_task(self._look_at_all_again())
                for _ in range(self._parallel):
                    group.create_task(self._work())
        finally:
            await self.close()

    async def close(self) -> None:
        """Stop monitors, timers and background work; what runs goes on."""
        self._agenda.close()
        tasks = list(self._background.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._monitors.close()

    async def converge(self, app_id: str) -> None:
        """Take one step of one app; what needs waiting for marks the app again when it has happened.

        Raises:
            EngineError: the engine does not tell what runs.
        """
        async with self._table.lock(app_id):
            # Free before the listing: nothing listed is gone by now, as what a retirement stops would be.
            # Free after it as well: no listed instance is of a running roll-out.
            busy = await self._desired.busy(app_id)
            observed = await self._engine.list(app_id)
            busy = busy or await self._desired.busy(app_id)
            manifest = await self._desired.live(app_id)
            diff = compare(manifest, observed, self._is_ready)
            await self._watch(app_id, manifest, diff)
            await self._revive(diff)
            if busy:
                self._agenda.mark_in(app_id, BUSY_RETRY)
            else:
                await self._correct(app_id, manifest, diff)

    async def _correct(self, app_id: str, manifest: Manifest | None, diff: Diff) -> None:
        if manifest is not None:
            await asyncio.gather(*[self._start(manifest, slot) for slot in diff.missing])
        if await self._publish(app_id, manifest, diff) and diff.strangers:
            self._retire(app_id, manifest, diff.strangers)
        for instance in diff.routed:
            if self._monitors.verdict(instance) is Verdict.FAILED:
                self._repair(instance, Patience.of(manifest) if manifest else Patience())

    def _is_ready(self, instance: Instance) -> bool:
        return self._monitors.verdict(instance) is Verdict.READY

    async def _watch(self, app_id: str, manifest: Manifest | None, diff: Diff) -> None:
        routed = [item for item in diff.routed if item.id not in self._background]
        health = manifest.health if manifest else Health()
        await self._monitors.follow(app_id, routed, health, lambda: self._agenda.mark(app_id))

    async def _revive(self, diff: Diff) -> None:
        crashed = [item for item in diff.crashed if item.id not in self._background]
        await asyncio.gather(*[self._revive_one(item) for item in crashed])

    async def _revive_one(self, instance: Instance) -> None:
        wait = self._backoff.wait(instance.id)
        await self._tell(instance, wait)
        if wait > 0:
            self._agenda.mark_in(instance.app_id, wait)
            return
        delay = self._backoff.tried(instance.id)
        try:
            await self._engine.restart(instance)
        except EngineError as error:
            log.warning("%s of %s was not restarted: %s", instance.name, instance.app, error)
            self._agenda.mark_in(instance.app_id, delay)
            return
        self._told.pop(instance.id, None)
        await self._monitors.forget(instance)
        self._agenda.mark(instance.app_id)

    async def _tell(self, instance: Instance, wait: float) -> None:
        if self._told.get(instance.id, self) == instance.finished_at:
            return
        self._told[instance.id] = instance.finished_at
        why = _why(instance)
        when = f"restarting in {wait:.0f} s" if wait >= 1 else "restarting"
        await self._report(instance.app_id, f"{instance.name} {why}; {when}")

    async def _start(self, manifest: Manifest, slot: Slot) -> None:
        key = f"{manifest.app_id}/{manifest.release}/{slot.name}"
        wait = self._backoff.wait(key)
        if wait > 0:
            self._agenda.mark_in(manifest.app_id, wait)
            return
        delay = self._backoff.tried(key)
        try:
            await self._engine.start(manifest, slot.process, slot.number, generation=slot.generation)
        except EngineError as error:
            await self._report(manifest.app_id, f"{slot.name} could not be started: {error}")
            self._agenda.mark_in(manifest.app_id, delay)
            return
        self._agenda.mark(manifest.app_id)

    async def _publish(self, app_id: str, manifest: Manifest | None, diff: Diff) -> bool:
        """Return whether every router now has the live release's table, so that others can be removed."""
        targets = self._targets(manifest, diff)
        if targets is None:
            return False
        try:
            await self._table.publish(app_id, targets)
        except RoutesError as error:
            log.warning("routes of %s are not acknowledged: %s", app_id, error)
            self._agenda.mark_in(app_id, self._backoff.tried(f"routes/{app_id}"))
            return False
        return True

    def _targets(self, manifest: Manifest | None, diff: Diff) -> Sequence[Instance] | None:
        if manifest is None or not any(item.routed and item.quantity for item in manifest.processes):
            return ()
        verdicts = [self._monitors.verdict(item) for item in diff.routed]
        # A first look takes a second at most; going on without it would narrow a good table for a moment.
        if Verdict.PENDING in verdicts:
            return None
        return [item for item in diff.routed if self._is_ready(item)] or None

    def _retire(self, app_id: str, manifest: Manifest | None, strangers: Sequence[Instance]) -> None:
        patience = Patience.of(manifest) if manifest else Patience()
        retirement = Retirement(self._engine, self._table, app_id, patience, serving=(), leaving=strangers)
        self._in_background(f"retire/{app_id}", app_id, lambda: self._finish(app_id, retirement))

    async def _finish(self, app_id: str, retirement: Retirement) -> None:
        for problem in await retirement.finish():
            log.warning("retiring instances of %s: %s", app_id, problem)
            self._agenda.mark_in(app_id, self._backoff.tried(f"retire/{app_id}"))

    def _repair(self, instance: Instance, patience: Patience) -> None:
        wait = self._backoff.wait(instance.id)
        if wait > 0:
            self._agenda.mark_in(instance.app_id, wait)
            return
        self._in_background(instance.id, instance.app_id, lambda: self._restart_unhealthy(instance, patience))

    async def _restart_unhealthy(self, instance: Instance, patience: Patience) -> None:
        self._backoff.tried(instance.id)
        seen = self._monitors.last(instance)
        await self._report(instance.app_id, f"{instance.name} is unhealthy ({seen}); restarting")
        await self._engine.restart(instance, patience.to_stop(instance))
        await self._monitors.forget(instance)

    def _in_background(self, key: str, app_id: str, work: Callable[[], Awaitable[None]]) -> None:
        if key in self._background:
            return
        self._background[key] = asyncio.create_task(self._guarded(key, app_id, work))

    async def _guarded(self, key: str, app_id: str, work: Callable[[], Awaitable[None]]) -> None:
        try:
            await work()
        except Exception as error:
            log.warning("repairing %s: %s", app_id, error, exc_info=not isinstance(error, EngineError))
        finally:
            self._background.pop(key, None)
            self._agenda.mark(app_id)

    async def _work(self) -> None:
        while True:
            app_id = await self._agenda.next()
            try:
                await self.converge(app_id)
            except Exception as error:
                log.warning("looking at %s: %s", app_id, error, exc_info=not isinstance(error, EngineError))
                self._agenda.mark_in(app_id, self._backoff.tried(f"look/{app_id}"))

    async def _follow_events(self) -> None:
        swept = False
        while True:
            try:
                if not swept:
                    await self._engine.sweep()
                    swept = True
                async with aclosing(self._engine.events()) as events:
                    await self._mark_all()
                    async for event in events:
                        # Whoever starts an instance looks after it; a look now would compete with its boot.
                        if event.kind != "start":
                            self._agenda.mark(event.app_id)
            except Exception as error:
                log.warning("the engine's events: %s", error, exc_info=not isinstance(error, EngineError))
            await asyncio.sleep(RECONNECT * random.uniform(0.5, 1.5))  # noqa: S311

    async def _look_at_all_again(self) -> None:
        while True:
            await asyncio.sleep(self._poll * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                await self._mark_all()
            except Exception as error:
                log.warning("listing apps: %s", error, exc_info=not isinstance(error, EngineError))

    async def _mark_all(self) -> None:
        for app_id in await self._desired.apps():
            self._agenda.mark(app_id)
        for instance in await self._engine.list():
            self._agenda.mark(instance.app_id)


def _why(instance: Instance) -> str:
    if instance.out_of_memory:
        return "ran out of memory"
    if instance.exit_code == KILLED:
        return "was killed, most likely because it ran out of memory"
    return f"exited with status {instance.exit_code}"
