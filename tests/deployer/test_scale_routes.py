"""Scaling never brings back into the routes what another change is taking out of them."""

from collections.abc import AsyncIterator, Sequence

import pytest

from deployer.launch import Launcher
from deployer.manifest import Manifest, Process
from deployer.memory import Machine, MemoryEngine, Program
from deployer.ports import Target
from deployer.rollout import Rollout
from deployer.routetable import RouteTable


class RecordedRoutes:
    """Routes that acknowledge at once and remember every table."""

    def __init__(self) -> None:
        self.tables: list[set[str]] = []

    async def swap(self, app_id: str, targets: Sequence[Target]) -> None:
        self.tables.append({target.instance_id for target in targets})

    async def drained(self, app_id: str, instance_ids: Sequence[str], timeout: float) -> bool:
        return True


async def silent(line: str) -> None:
    """Nobody listens."""


def manifest(web: int, worker: int) -> Manifest:
    processes = (Process("web", ("web",), web), Process("worker", ("worker",), worker))
    return Manifest(
        app_id="app1", app="shop", release=1, image="i", processes=processes, env={}, drain_timeout=0
    )


@pytest.fixture
async def engine() -> AsyncIterator[MemoryEngine]:
    machine = Machine(lambda image, command: Program())
    yield MemoryEngine(machine, "scale-routes")
    machine.close()


async def test_what_one_type_gives_up_is_not_served_by_the_scaling_of_the_next(engine: MemoryEngine) -> None:
    routes = RecordedRoutes()
    table = RouteTable(engine, routes)
    rollout = Rollout(engine, table, Launcher(engine, table, observation=0))
    await (await rollout.run(manifest(2, 1), silent)).finish()
    kept = {item.id for item in await engine.list() if item.name == "web.1"}
    smaller = manifest(1, 2)
    first = await rollout.scale(smaller, "web", silent)
    second = await rollout.scale(smaller, "worker", silent)
    assert routes.tables[-1] == kept
    await first.finish()
    await second.finish()
    assert sorted(item.name for item in await engine.list()) == ["web.1", "worker.1", "worker.2"]


async def test_what_a_restart_replaced_is_not_served_by_a_scaling_after_it(engine: MemoryEngine) -> None:
    routes = RecordedRoutes()
    table = RouteTable(engine, routes)
    rollout = Rollout(engine, table, Launcher(engine, table, observation=0))
    await (await rollout.run(manifest(1, 1), silent)).finish()
    restarted = await rollout.restart(manifest(1, 1), silent)
    fresh = routes.tables[-1]
    scaled = await rollout.scale(manifest(1, 2), "worker", silent)
    assert routes.tables[-1] == fresh
    await restarted.finish()
    await scaled.finish()
    assert {item.id for item in await engine.list() if item.process == "web"} == fresh


async def test_what_is_drained_is_not_counted_when_more_are_wanted_again(engine: MemoryEngine) -> None:
    routes = RecordedRoutes()
    table = RouteTable(engine, routes)
    rollout = Rollout(engine, table, Launcher(engine, table, observation=0))
    await (await rollout.run(manifest(2, 0), silent)).finish()
    before = {item.id for item in await engine.list()}
    first = await rollout.scale(manifest(1, 0), "web", silent)
    second = await rollout.scale(manifest(2, 0), "web", silent)
    serving = routes.tables[-1]
    assert len(serving) == 2
    assert len(serving & before) == 1
    await first.finish()
    await second.finish()
    assert {item.id for item in await engine.list()} == serving


async def test_a_restart_of_one_type_leaves_the_others_alone(engine: MemoryEngine) -> None:
    routes = RecordedRoutes()
    table = RouteTable(engine, routes)
    rollout = Rollout(engine, table, Launcher(engine, table, observation=0))
    await (await rollout.run(manifest(2, 2), silent)).finish()
    before = {item.id: item.process for item in await engine.list()}
    await (await rollout.restart(manifest(2, 2), silent, ["worker"])).finish()
    after = {item.id: item.process for item in await engine.list()}
    assert sorted(after.values()) == ["web", "web", "worker", "worker"]
    assert {after[item] for item in before.keys() & after.keys()} == {"web"}
    assert routes.tables[-1] == {item for item, process in before.items() if process == "web"}
    await (await rollout.restart(manifest(2, 2), silent, ["web"])).finish()
    fresh = {item.id for item in await engine.list() if item.process == "web"}
    assert not fresh & before.keys()
    assert routes.tables[-1] == fresh
