"""Starts a set of instances and waits until each is ready: all of them, or none is left."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from deployer.boot import Boot, NotReadyError, Pace
from deployer.failures import TAIL_LINES, RolloutFailedError
from deployer.manifest import Manifest, Process
from deployer.ports import Announce, Engine, EngineError, Instance, LogLine
from deployer.routetable import RouteTable

ABANDON_TIMEOUT = 5.0
"""Seconds a new instance gets to stop when its release failed; it never served anybody."""
TAIL_LIMIT = 5.0


@dataclass(frozen=True)
class Slot:
    """A place that one instance fills."""

    process: Process
    number: int
    generation: int = 0

    @property
    def name(self) -> str:
        """How people name it: `web.1`."""
        return f"{self.process.type}.{self.number}"


class Launch:
    """The instances of one launch, each watched for its end until the launch is over."""

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest
        self.kept = False
        self._watched: dict[str, tuple[Instance, asyncio.Task[Instance | None]]] = {}

    @property
    def instances(self) -> list[Instance]:
        """Return everything that was started."""
        return [instance for instance, _ in self._watched.values()]

    def keep(self) -> None:
        """Make the instances outlive this launch: the release is live now."""
        self.kept = True

    def watch(self, instance: Instance, ended: asyncio.Task[Instance | None]) -> None:
        """Remember an instance and the wait for its end."""
        self._watched[instance.id] = (instance, ended)

    def ended(self) -> list[tuple[Instance, asyncio.Task[Instance | None]]]:
        """Return the instances that are known not to run any more."""
        return [(instance, task) for instance, task in self._watched.values() if task.done()]

    async def unwatch(self) -> None:
        """Stop watching."""
        tasks = [task for _, task in self._watched.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Launcher:
    """Launches slots, at most `parallel` engine starts at a time over all apps.

    A routed instance is ready when it answers a probe. Another one (a worker) gives no sign of its own, so
    it counts when it has run for `observation` seconds, which pass while the routed ones boot; and nothing
    that was started may have ended by the time of the swap. An app without workers never waits for this.
    """

    def __init__(
        self,
        engine: Engine,
        table: RouteTable,
        *,
        parallel: int = 4,
        observation: float = 1.0,
        pace: Pace | None = None,
    ) -> None:
        self._engine = engine
        self._table = table
        self._slots = asyncio.Semaphore(parallel)
        self._observation = observation
        self._pace = pace or Pace()

    @asynccontextmanager
    async def launch(
        self, manifest: Manifest, slots: Sequence[Slot], announce: Announce
    ) -> AsyncIterator[Launch]:
        """Yield when all slots are ready; on the way out, stop everything unless it was kept.

        Raises:
            RolloutFailedError: one of them did not get ready.
        """
        launch = Launch(manifest)
        try:
            await self._bring_up_all(launch, slots, announce)
            yield launch
        finally:
            await launch.unwatch()
            if not launch.kept:
                await asyncio.shield(self._abandon(launch))

    async def check(self, launch: Launch) -> None:
        """Make sure that everything still runs.

        Raises:
            RolloutFailedError: something ended since it was ready.
        """
        for instance, ended in launch.ended():
            raise await self._exit_failure(instance, ended)

    async def _bring_up_all(self, launch: Launch, slots: Sequence[Slot], announce: Announce) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                for slot in slots:
                    group.create_task(self._bring_up(launch, slot, announce))
        except ExceptionGroup as group:
            raise _first(group) from None

    async def _bring_up(self, launch: Launch, slot: Slot, announce: Announce) -> None:
        began = asyncio.get_running_loop().time()
        instance = await self._start(launch, slot)
        ended = asyncio.create_task(self._engine.wait(instance))
        launch.watch(instance, ended)
        await self._ready_or_ended(launch.manifest, slot, instance, ended)
        seconds = asyncio.get_running_loop().time() - began
        await announce(f"{slot.name} is up ({seconds:.1f} s)")

    async def _start(self, launch: Launch, slot: Slot) -> Instance:
        try:
            async with self._slots:
                return await self._engine.start(
                    launch.manifest, slot.process, slot.number, generation=slot.generation
                )
        except EngineError as error:
            raise RolloutFailedError("start", "engine", str(error), instance=slot.name) from error

    async def _ready_or_ended(
        self, manifest: Manifest, slot: Slot, instance: Instance, ended: asyncio.Task[Instance | None]
    ) -> None:
        ready = asyncio.create_task(self._ready(manifest, slot, instance))
        try:
            await asyncio.wait({ready, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                raise await self._exit_failure(instance, ended)
            await ready
        except NotReadyError as error:
            raise await self._boot_failure(instance, error) from None
        finally:
            ready.cancel()
            await asyncio.gather(ready, return_exceptions=True)

    async def _ready(self, manifest: Manifest, slot: Slot, instance: Instance) -> None:
        if slot.process.routed:
            await Boot(self._engine, instance, manifest.health, manifest.port, self._pace).ready()
        else:
            await asyncio.sleep(self._observation)

    async def _boot_failure(self, instance: Instance, error: NotReadyError) -> RolloutFailedError:
        tail = await self._tail(instance)
        return RolloutFailedError(
            "boot", error.cause, error.detail, instance=instance.name, last_probe=error.last_probe, tail=tail
        )

    async def _exit_failure(
        self, instance: Instance, ended: asyncio.Task[Instance | None]
    ) -> RolloutFailedError:
        try:
            last = await ended
        except EngineError as error:
            return RolloutFailedError("boot", "engine", str(error), instance=instance.name)
        if last is None:
            return RolloutFailedError(
                "boot", "engine", "It was removed by somebody else.", instance=instance.name
            )
        memory = last.out_of_memory
        detail = "It ran out of memory." if memory else f"It exited with status {last.exit_code}."
        tail = await self._tail(instance)
        return RolloutFailedError(
            "boot",
            "out-of-memory" if memory else "exited",
            detail,
            instance=instance.name,
            exit_code=last.exit_code,
            tail=tail,
        )

    async def _tail(self, instance: Instance) -> tuple[LogLine, ...]:
        try:
            async with asyncio.timeout(TAIL_LIMIT):
                stream = self._engine.logs(instance, None, follow=False, tail=TAIL_LINES)
                async with aclosing(stream):
                    return tuple([line async for line in stream])[-TAIL_LINES:]
        except (EngineError, TimeoutError):
            return ()

    async def _abandon(self, launch: Launch) -> None:
        stops = [self._engine.stop(instance, ABANDON_TIMEOUT) for instance in launch.instances]
        # What cannot be stopped now is not of the live release: the reconciler removes it.
        await asyncio.gather(*stops, return_exceptions=True)
        self._table.reclaim(launch.manifest.app_id)


def _first(group: ExceptionGroup[Exception]) -> Exception:
    """Return the first failure of a roll-out, or what else there is."""
    failures = group.subgroup(RolloutFailedError) or group
    error: Exception = failures
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
