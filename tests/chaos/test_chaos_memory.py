"""Control planes are killed at random while people push, scale, set, roll back and destroy, and while all else fails.

Everything is in one process and in simulated time, on the engine in memory; after every epoch the platform must
converge, hold every invariant of `tests/support/invariants.py`, and have kept every acknowledged change.
"""

import asyncio
import json
import os
import random
import shutil
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
from chaos_clients import Clients, Mishaps, ViolationError
from chaos_world import World
from deployer_world import end_of
from invariants import always, settled
from simulated_loop import SimulatedLoop

SECONDS = float(os.environ.get("CHAOS_SECONDS", "40"))
EPOCHS = int(os.environ.get("CHAOS_EPOCHS", "1000"))
TRACE = int(os.environ.get("CHAOS_TRACE", "80"))
SEED = os.environ.get("CHAOS_SEED", "")
PEOPLE = 5
PATIENCE = 2 * 3600.0
"""Simulated seconds until nothing may be half done any more."""


@pytest.fixture
def data() -> Iterator[Path]:
    """A state directory in memory where there is such a file system: nothing here is about losing power."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made) / "data"


class Chaos:
    """Epochs of load, each with an end; then peace, and the reckoning."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.clients = Clients(world, dice)

    async def epoch(self) -> None:
        counts = self.clients.counts
        mishaps = Mishaps(self.world, self.dice, counts)
        wild = self.dice.random() < 0.6
        people = [asyncio.create_task(self.clients.work(self.dice.randint(5, 30))) for _ in range(PEOPLE)]
        others = [asyncio.create_task(self.watch())]
        others += [asyncio.create_task(mishaps.happen())] if wild else []
        end = self.dice.choice(("kill", "kill", "kill", "stop", "none"))
        counts["epochs"] += 1
        counts[f"end: {end}"] += 1
        await self.until(end, people)
        for task in (*people, *others):
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise error
        await self.close(end, [*people, *others])
        self.world.heal()
        if self.world.life.dead:
            await self.world.start()
        await self.converged()

    async def until(self, end: str, people: list["asyncio.Task[None]"]) -> None:
        done = asyncio.ensure_future(asyncio.wait(people))
        if end == "none":
            await done
            return
        rounds = asyncio.create_task(self.world.loop.after(self.dice.choice((200, 2000, 10000, 40000))))
        rounds_or_less = {rounds, done}
        await asyncio.wait(rounds_or_less, return_when=asyncio.FIRST_COMPLETED)
        for task in rounds_or_less:
            task.cancel()
        await asyncio.gather(*rounds_or_less, return_exceptions=True)

    async def close(self, end: str, tasks: list["asyncio.Task[None]"]) -> None:
        if end == "kill":
            await self.world.kill()
            return
        await end_of(tasks)
        if end == "stop":
            self.world.heal()
            await self.world.stop()

    async def watch(self) -> None:
        """What must hold always holds during the load, too."""
        while True:
            await asyncio.sleep(self.dice.uniform(1, 30))
            if broken := await always(self.world.view()):
                raise ViolationError("\n".join(broken))

    async def converged(self) -> None:
        loop = self.world.loop
        deadline = loop.now + PATIENCE
        began = time.monotonic()
        while True:
            await self.repeat_destroys()
            broken = await settled(self.world.view())
            if not broken:
                break
            if loop.now > deadline:
                raise ViolationError("\n".join(broken))
            await asyncio.sleep(20)
        self.clients.counts["checks"] += 1
        self.spent = time.monotonic() - began
        await self.reckoning()

    async def repeat_destroys(self) -> None:
        """Who was told that it failed does it again."""
        store = self.world.platform.services.store
        for app in await store.apps.all():
            if app.destroying and await store.jobs.running(app.id, _deploy()) is None:
                await self.clients.destroy(app)

    async def reckoning(self) -> None:
        """Everything that was acknowledged is there."""
        store, model = self.world.platform.services.store, self.clients.model
        for app in await store.apps.all():
            config = await store.config.get(app.id)
            for name in ("ALPHA", "BETA", "GAMMA"):
                may_be = model.config.may_be((app.id, name))
                if config.get(name) not in may_be:
                    raise ViolationError(
                        f"{app.name}: {name} is {config.get(name)} and should be one of {may_be}"
                    )
                model.config.settle((app.id, name), config.get(name))
            formation = await store.formation.get(app.id)
            for process in ("web", "worker"):
                may_be = model.quantity.may_be((app.id, process))
                if formation.get(process) not in may_be:
                    raise ViolationError(
                        f"{app.name}: {process}={formation.get(process)} and should be one of {may_be}"
                    )
                model.quantity.settle((app.id, process), formation.get(process))
            await self.releases_of(app)
        for app_id in model.releases.keys() - {app.id for app in await store.apps.all()}:
            if app_id not in model.leaving:
                raise ViolationError(f"{app_id} is gone, and nobody destroyed it")

    async def releases_of(self, app: object) -> None:
        store, model = self.world.platform.services.store, self.clients.model
        app_id, name = app.id, app.name  # type: ignore[attr-defined]
        live = await store.releases.live(app_id)
        for version, commit in model.releases[app_id].items():
            release = await store.releases.get(app_id, version)
            if (
                release is None
                or release.status not in {"live", "retired"}
                or commit not in {None, release.commit}
            ):
                raise ViolationError(f"{name} v{version} of {commit} was acknowledged and is {release}")
            if live is None or live.version < version:
                raise ViolationError(f"{name} v{version} was acknowledged, and live is {live}")
        for commit in model.detached[app_id]:
            if not await store.builds.has_commit(app_id, commit):
                raise ViolationError(f"{name}: {commit} was accepted and never built")


def _deploy() -> object:
    from cygni.domain.models import Lane

    return Lane.DEPLOY


async def _run(chaos: Chaos, until: float) -> None:
    await chaos.world.start()
    try:
        for _ in range(EPOCHS):
            if time.monotonic() > until:
                break
            await chaos.epoch()
    finally:
        await chaos.world.kill()


@pytest.mark.filterwarnings("ignore:The garbage collector is trying")  # the connections of the killed
def test_whatever_is_killed_whenever_the_platform_keeps_its_word(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = SEED or str(random.SystemRandom().randrange(10**9))
    dice = random.Random(seed)
    random.seed(seed)
    loop = SimulatedLoop(dice)
    world = World(data, loop, monkeypatch, dice)
    chaos = Chaos(world, dice)
    print(f"CHAOS_SEED={seed}")
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(_run(chaos, time.monotonic() + SECONDS))
    except Exception as error:
        steps = "\n".join(chaos.clients.trace[-TRACE:])
        reason = "".join(traceback.format_exception(error, limit=-8))
        pytest.fail(f"CHAOS_SEED={seed} reproduces this:\n{steps}\n{reason}", pytrace=False)
    finally:
        print(
            f"CHAOS_SEED={seed}, {loop.now:.0f} simulated seconds, {json.dumps(dict(sorted(chaos.clients.counts.items())))}"
        )
        shutil.rmtree(data, ignore_errors=True)
    assert chaos.clients.counts["steps"] > 0
