"""Release, start, wait until healthy, swap, drain, retire. Design: docs, "Release and roll-out"."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

from deployer.failures import TAIL_LINES, RolloutFailedError
from deployer.launch import Launch, Launcher, Slot
from deployer.manifest import Manifest, Process
from deployer.ports import Announce, Engine, EngineError, Instance, LogLine
from deployer.probe import probe
from deployer.retirement import Patience, Retirement, publish
from deployer.routetable import RouteTable

T = TypeVar("T")

Commit = Callable[[], Awaitable[None]]
"""Makes the new state the desired one, durably. Called once, when everything is ready and before the swap."""


async def nothing_to_commit() -> None:
    """For changes whose desired state was stored before they began."""


class Rollout:
    """Changes what runs of one app. The caller allows one change of an app at a time (the deploy lane).

    Every method is all or nothing: it raises before the commit and leaves what ran as it was, or it commits,
    swaps, and returns a `Retirement`. By then the new instances serve; `await retirement.finish()` drains and
    stops the old ones, and nobody needs to wait for that.

    Commit, then swap: after a kill between the two, the reconciler finds the new release desired and running,
    and swaps. The other order would have a moment in which the old release is desired while the new serves.
    """

    def __init__(self, engine: Engine, table: RouteTable, launcher: Launcher) -> None:
        self._engine = engine
        self._table = table
        self._launcher = launcher
        # By app, what was given to a retirement: it may run on for as long as it drains.
        self._leaving: dict[str, set[str]] = {}

    async def run(
        self, manifest: Manifest, announce: Announce, commit: Commit = nothing_to_commit
    ) -> Retirement:
        """Take a release live.

        Raises:
            RolloutFailedError: it did not come up; what was started is stopped, nothing else was touched.
        """
        # Looked at first: right after the release phase the engine is busy with taking its container down.
        before = await self._observe(manifest)
        await self._release(manifest, announce)
        return await self._replace(manifest, before, announce, commit)

    async def restart(
        self, manifest: Manifest, announce: Announce, types: Collection[str] | None = None
    ) -> Retirement:
        """Replace every instance of the live release, or those of some process types, without a gap.

        Raises:
            RolloutFailedError: the fresh ones did not come up; the ones that ran go on.
        """
        before = await self._observe(manifest)
        if types is None:
            return await self._replace(manifest, before, announce, nothing_to_commit)
        running = self._present(manifest, before)
        chosen = [process for process in manifest.processes if process.type in types]
        slots = _slots(chosen, _next_generation(manifest, before))
        leaving = [item for item in running if item.process in types]
        staying = [item for item in running if item not in leaving]
        async with self._launcher.launch(manifest, slots, announce) as launch:
            return await _undisturbed(self._rescale(launch, staying, leaving))

    async def scale(self, manifest: Manifest, process_type: str, announce: Announce) -> Retirement:
        """Start or take away instances of one process type until `manifest`'s quantity runs.

        Raises:
            RolloutFailedError: a new instance did not come up; as many run as before.
        """
        before = await self._observe(manifest)
        running = self._present(manifest, before)
        slots = _missing(manifest, process_type, running, _next_generation(manifest, before))
        async with self._launcher.launch(manifest, slots, announce) as launch:
            surplus = _surplus(manifest, process_type, running)
            leaving = [
                gone for process in manifest.processes for gone in _surplus(manifest, process.type, running)
            ]
            staying = [item for item in running if item not in leaving]
            return await _undisturbed(self._rescale(launch, staying, surplus))

    async def stop_all(self, app_id: str) -> tuple[str, ...]:
        """Take the app's routes away and remove everything of it; returns what could not be done.

        Raises:
            EngineError: the engine does not tell what runs.
        """
        async with self._table.lock(app_id):
            problems = await publish(self._table, app_id, [])
            leaving = await self._engine.list(app_id)
        await self._engine.sweep(app_id)
        self._leaving.pop(app_id, None)
        retirement = Retirement(
            self._engine, self._table, app_id, Patience(), serving=(), leaving=leaving, problems=problems
        )
        return await retirement.finish()

    async def _release(self, manifest: Manifest, announce: Announce) -> None:
        if manifest.release_command is not None:
            await announce("Running the release command")
            await ReleasePhase(self._engine, manifest, announce).run(manifest.release_command)

    async def _replace(
        self, manifest: Manifest, before: Sequence[Instance], announce: Announce, commit: Commit
    ) -> Retirement:
        slots = _slots(manifest.processes, _next_generation(manifest, before))
        if slots:
            await announce("Starting " + ", ".join(slot.name for slot in slots))
        async with self._launcher.launch(manifest, slots, announce) as launch:
            return await _undisturbed(self._swap(launch, commit))

    async def _swap(self, launch: Launch, commit: Commit) -> Retirement:
        app_id = launch.manifest.app_id
        async with self._table.lock(app_id):
            await self._launcher.check(launch)
            await commit()
            launch.keep()
            problems = await publish(self._table, app_id, launch.instances)
            leaving = await self._others(app_id, launch.instances, problems)
        return self._retirement(launch.manifest, launch.instances, leaving, problems)

    async def _rescale(
        self, launch: Launch, staying: Sequence[Instance], surplus: Sequence[Instance]
    ) -> Retirement:
        app_id = launch.manifest.app_id
        async with self._table.lock(app_id):
            await self._launcher.check(launch)
            launch.keep()
            serving = [*await self._answering(launch.manifest, staying), *launch.instances]
            problems = await publish(self._table, app_id, serving)
        return self._retirement(launch.manifest, serving, surplus, problems)

    async def _answering(self, manifest: Manifest, staying: Sequence[Instance]) -> list[Instance]:
        """Leave out routed instances that do not answer, unless none does."""
        routed = [item for item in staying if item.address is not None]
        looks = await asyncio.gather(
            *[probe(item.address, manifest.health) for item in routed if item.address]
        )
        good = [item for item, look in zip(routed, looks, strict=True) if look.ready]
        return [item for item in staying if item.address is None] + (good or routed)

    async def _others(self, app_id: str, ours: Sequence[Instance], problems: list[str]) -> Sequence[Instance]:
        ids = {item.id for item in ours}
        try:
            return [item for item in await self._engine.list(app_id) if item.id not in ids]
        except EngineError as error:
            problems.append(f"The old instances could not be listed: {error}")
            return ()

    def _present(self, manifest: Manifest, observed: Sequence[Instance]) -> list[Instance]:
        """The live release's running instances, of each number the newest.

        What an earlier change takes out of service runs on while it drains; it must neither come back into the
        routes nor be counted.
        """
        leaving = self._leaving.get(manifest.app_id, set())
        ours = [
            item
            for item in observed
            if item.release == manifest.release and item.state == "running" and item.id not in leaving
        ]
        newest = {item.name: item for item in sorted(ours, key=lambda item: item.generation)}
        return [item for item in ours if newest[item.name] is item]

    async def _observe(self, manifest: Manifest) -> Sequence[Instance]:
        try:
            observed = await self._engine.list(manifest.app_id)
        except EngineError as error:
            raise RolloutFailedError("start", "engine", str(error)) from error
        if manifest.app_id in self._leaving:  # what is gone by now need not be remembered
            self._leaving[manifest.app_id] &= {item.id for item in observed}
        return observed

    def _retirement(
        self,
        manifest: Manifest,
        serving: Sequence[Instance],
        leaving: Sequence[Instance],
        problems: Sequence[str],
    ) -> Retirement:
        self._leaving.setdefault(manifest.app_id, set()).update(item.id for item in leaving)
        return Retirement(
            self._engine,
            self._table,
            manifest.app_id,
            Patience.of(manifest),
            serving=serving,
            leaving=leaving,
            problems=problems,
        )


class ReleasePhase:
    """Runs the release command in the new image, shows its output and keeps the end of it."""

    def __init__(self, engine: Engine, manifest: Manifest, announce: Announce) -> None:
        self._engine = engine
        self._manifest = manifest
        self._announce = announce
        self._tail: deque[LogLine] = deque(maxlen=TAIL_LINES)

    async def run(self, command: tuple[str, ...]) -> None:
        """Run it to its end.

        Raises:
            RolloutFailedError: it exited with another status than 0, took too long, or could not be run.
        """
        limit = self._manifest.release_timeout
        try:
            status = await self._engine.run(self._manifest, command, self._line, limit)
        except TimeoutError:
            raise self._failed("timeout", f"It took longer than {limit:g} s.") from None
        except EngineError as error:
            raise self._failed("engine", str(error)) from error
        if status != 0:
            raise self._failed("release-failed", f"It exited with status {status}.", status)

    async def _line(self, text: str) -> None:
        self._tail.append(LogLine(datetime.now(UTC), "stdout", text))
        await self._announce(text)

    def _failed(
        self, cause: Literal["timeout", "engine", "release-failed"], detail: str, status: int | None = None
    ) -> RolloutFailedError:
        tail = tuple(self._tail)
        return RolloutFailedError("release", cause, detail, instance="release", exit_code=status, tail=tail)


async def _undisturbed(work: Coroutine[Any, Any, T]) -> T:
    """Finish `work` however often it is cancelled meanwhile, then let the cancel through: commit and swap are one step."""
    task = asyncio.ensure_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None or task.cancelled():
        return task.result()
    task.exception()  # seen: nobody is left to tell it to
    raise cancelled


def _slots(processes: Sequence[Process], generation: int) -> list[Slot]:
    return [
        Slot(process, number, generation)
        for process in processes
        for number in range(1, process.quantity + 1)
    ]


def _next_generation(manifest: Manifest, observed: Sequence[Instance]) -> int:
    """A leftover of a dead roll-out is never taken for one of ours: it may be half alive."""
    return max((item.generation + 1 for item in observed if item.release == manifest.release), default=0)


def _missing(
    manifest: Manifest, process_type: str, running: Sequence[Instance], generation: int
) -> list[Slot]:
    taken = {item.number for item in running if item.process == process_type}
    return [
        Slot(process, number, generation)
        for process in manifest.processes
        if process.type == process_type
        for number in range(1, process.quantity + 1)
        if number not in taken
    ]


def _surplus(manifest: Manifest, process_type: str, running: Sequence[Instance]) -> list[Instance]:
    quantity = sum(process.quantity for process in manifest.processes if process.type == process_type)
    return [item for item in running if item.process == process_type and item.number > quantity]
