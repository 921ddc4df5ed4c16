"""Roll-outs and the reconciler on ECS's simulated data plane: swap, failure, kill, crash, replacement."""

import asyncio
import random
from collections.abc import AsyncIterator

import pytest
from deployer_world import APP, Visitor, eventually, failure_of, kill
from ecs_world import EcsWorld

from deployer.memory import Program
from deployer.monitor import Vigilance
from deployer.ports import Event

PATIENCE = 25.0


@pytest.fixture
async def world() -> AsyncIterator[EcsWorld]:
    network = f"127.{random.randrange(2, 120)}.{random.randrange(256)}.0/24"
    async with EcsWorld(network).opened() as made:
        yield made


async def test_a_swap_loses_no_request_and_leaves_only_the_new_release(world: EcsWorld) -> None:
    control = await world.live(world.manifest(1, web=2, worker=1))
    async with Visitor(world).visiting() as visitor:
        for release in (2, 3):
            await (await control.deploy(world.manifest(release, web=2, worker=1))).finish()
    assert (visitor.failures, visitor.answers > 3) == ([], True)
    assert world.everything == world.running == ["v3 web.1", "v3 web.2", "v3 worker.1"]
    assert world.routed == set(world.ids("web.1") + world.ids("web.2"))
    assert sorted(item.status for item in world.plane.services.values()) == ["ACTIVE"] * 3 + ["INACTIVE"] * 6


FAILURES = {
    "exited": (Program(lines=("no database",), bind="nothing", exit_after=0, exit_code=3), 3),
    "out-of-memory": (Program(bind="nothing", exit_after=0.05, out_of_memory=True), 137),
    "never-bound": (Program(bind="loopback"), None),
}


@pytest.mark.parametrize("cause", FAILURES)
async def test_a_release_that_does_not_come_up_says_why_and_leaves_what_ran(
    world: EcsWorld, cause: str
) -> None:
    control = await world.live(world.manifest(1))
    program, code = FAILURES[cause]
    world.programs["image-2 web"] = program
    async with Visitor(world).visiting() as visitor:
        error = await failure_of(control.deploy(world.manifest(2, web=1, worker=2)))
    assert (error.phase, error.cause, error.instance, error.exit_code) == ("boot", cause, "web.1", code)
    assert [line.text for line in error.tail] == list(program.lines)
    assert world.everything == ["v1 web.1"]
    assert world.desired.manifests[APP].release == 1
    assert visitor.failures == []


async def test_a_failing_release_command_starts_nothing(world: EcsWorld) -> None:
    control = await world.live(world.manifest(1))
    world.programs["image-2 migrate"] = Program(lines=("table is locked",), exit_after=0, exit_code=9)
    error = await failure_of(control.deploy(world.manifest(2, release_command=("migrate",))))
    assert (error.phase, error.cause, error.exit_code) == ("release", "release-failed", 9)
    assert [line.text for line in error.tail] == ["table is locked"]
    assert world.everything == ["v1 web.1"]


async def test_a_deploy_of_one_web_process_takes_fifteen_calls_at_most(world: EcsWorld) -> None:
    """Not counted: looks while a task starts and stops, whose number depends on how long AWS takes."""
    control = await world.live(world.manifest(1, env={"KEY": "value"}))
    made = world.engines[-1].aws.calls
    before = made.copy()
    await (await control.deploy(world.manifest(2, env={"KEY": "value"}))).finish()
    made = made - before
    print(dict(made))
    changes = {
        name: count
        for name, count in made.items()
        if not name.startswith(("list", "describe_tasks", "receive", "delete_message"))
    }
    assert sum(changes.values()) <= 8, changes


@pytest.mark.kill
@pytest.mark.parametrize("steps", range(3, 160, 12))
async def test_a_kill_between_any_two_calls_to_aws_converges_without_a_failed_request(
    world: EcsWorld, steps: int
) -> None:
    await world.live(world.manifest(1, web=2, worker=1))
    await world.bury()
    world.programs["image-2 migrate"] = Program(exit_after=0)
    async with Visitor(world).visiting() as visitor:
        control = world.control(steps)
        before = asyncio.all_tasks()

        async def change() -> None:
            wanted = world.manifest(2, web=2, worker=1, release_command=("migrate",), env={"KEY": "value"})
            await (await control.deploy(wanted)).finish()

        doing = asyncio.create_task(change())
        died = asyncio.create_task(control.life.died.wait())
        await asyncio.wait({doing, died}, return_when=asyncio.FIRST_COMPLETED)
        control.life.died.set()
        await kill(before)
        release = world.desired.manifests[APP].release
        async with world.reconciling():
            await eventually(world.converged, PATIENCE)
        assert world.desired.manifests[APP].release == release
    assert visitor.failures == []


async def test_a_crash_is_started_again_by_us_and_told(world: EcsWorld) -> None:
    """A worker: of a web process a monitor as quick as the tests' may see the silence first, and says that."""
    await world.live(world.manifest(1, web=1, worker=1))
    await world.bury()
    crashed = world.ids("worker.1")[0]
    async with world.reconciling() as control:
        await eventually(lambda: control.life.log.count("list done") >= 2, PATIENCE)
        world.machine.crash(crashed, 3)
        await eventually(lambda: "restart worker.1 done" in control.life.log, PATIENCE)
        await eventually(world.converged, PATIENCE)
        found = {item.id: item for item in await control.engine.list(APP)}[crashed]
    assert control.reports == ["worker.1 exited with status 3; restarting"]
    assert (found.restarts, found.last_exit.code if found.last_exit else None) == (1, 3)


async def test_a_crash_loop_backs_off_although_ecs_would_start_it_again_at_once(world: EcsWorld) -> None:
    world.plane.replace_after = 0.5
    world.backoff = 0.3
    await world.live(world.manifest(1, worker=1))
    await world.bury()
    world.programs["image-1 worker"] = Program(exit_after=0.01, exit_code=1)
    async with world.reconciling() as control:
        world.machine.crash(world.ids("worker.1")[0], 1)
        await eventually(lambda: len(control.reports) >= 3, PATIENCE)
    tasks = [item for item in world.plane.tasks.values() if item.service and "worker" in item.service.name]
    assert len(tasks) <= len(control.reports) + 1, "some were started by ECS, without our back-off"


async def test_what_ecs_replaced_while_nobody_looked_gets_into_the_routes_at_its_new_address(
    world: EcsWorld,
) -> None:
    await world.live(world.manifest(1, web=2))
    await world.bury()
    world.plane.replace_after = 0.05
    (replaced,) = world.ids("web.1")
    old = {target.instance_id: target.host for target in world.routers.tables[APP]}[replaced]
    world.machine.crash(replaced)
    await eventually(lambda: len(world.plane.tasks) == 3 and len(world.running) == 2, PATIENCE)
    async with world.reconciling():
        await eventually(
            lambda: {t.instance_id: t.host for t in world.routers.tables[APP]}.get(replaced, old) != old,
            PATIENCE,
        )
        assert world.converged()


async def test_a_spot_interruption_is_replaced_by_ecs_and_followed(
    world: EcsWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A monitor of milliseconds would find the dead address, and restart what is unhealthy, before ECS says a word.
    patient = Vigilance(interval=0.05, failures=1000, retry=0.05, first_look=0.5)
    monkeypatch.setattr("deployer_world.VIGILANCE", patient)
    await world.live(world.manifest(1, web=2))
    await world.bury()
    world.plane.replace_after = 0.05
    (gone,) = world.ids("web.1")
    old = {target.instance_id: target.host for target in world.routers.tables[APP]}[gone]
    async with world.reconciling() as control, Visitor(world).visiting():
        await eventually(lambda: control.life.log.count("list done") >= 2, PATIENCE)
        world.plane.interrupt(gone)
        await eventually(
            lambda: {t.instance_id: t.host for t in world.routers.tables[APP]}.get(gone, old) != old, PATIENCE
        )
    assert 0 not in world.plane.wanted, "what ECS replaces by itself is not parked"


async def test_events_come_by_the_slow_look_where_the_queue_says_nothing(world: EcsWorld) -> None:
    world.plane.queue_url = None
    control = await world.live(world.manifest(1))
    found: list[Event] = []

    async def collect() -> None:
        async for event in control.engine.events():
            found.append(event)

    collecting = asyncio.create_task(collect())
    await asyncio.sleep(0)
    world.machine.crash(world.ids()[0], 4)
    await eventually(lambda: [event.exit_code for event in found if event.kind == "die"] == [4], PATIENCE)
    collecting.cancel()
    await asyncio.gather(collecting, return_exceptions=True)
