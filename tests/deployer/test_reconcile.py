"""The reconciler on the engine in memory: crashes, back-off, an engine or a router that is away, strangers."""

import asyncio
import gc
import inspect
import random
from collections.abc import Sequence

import pytest
from deployer_world import APP, Control, Visitor, World, eventually, kill

from deployer.failures import RolloutFailedError
from deployer.memory import Program
from deployer.ports import EngineError, Instance


async def test_what_is_missing_is_started_and_routed(world: World) -> None:
    world.desired.manifests[APP] = world.manifest(1, web=2, worker=1)
    async with world.reconciling():
        await eventually(world.converged)
    assert world.running == ["v1 web.1", "v1 web.2", "v1 worker.1"]


async def test_a_machine_that_rebooted_gets_everything_back(world: World) -> None:
    await world.live(world.manifest(1, web=2, worker=1))
    for instance in world.ids():
        world.machine.crash(instance, 255)
    async with world.reconciling():
        await eventually(world.converged)


async def test_strangers_go_only_when_the_live_release_serves(world: World) -> None:
    """A control plane died after the commit, before anything of the new release was left running."""
    await world.live(world.manifest(1))
    world.desired.manifests[APP] = world.manifest(2, Program(bind_after=0.2))
    async with Visitor(world).visiting() as visitor, world.reconciling() as control:
        await eventually(lambda: "v2 web.1" in world.running)
        assert "v1 web.1" in world.running
        await eventually(world.converged)
    assert visitor.failures == []
    assert control.life.log.index("swap done") < control.life.log.index("stop web.1")


async def test_a_live_release_that_does_not_come_up_keeps_the_old_one_in_the_routes(world: World) -> None:
    await world.live(world.manifest(1))
    world.desired.manifests[APP] = world.manifest(2, Program(bind="nothing"))
    async with Visitor(world).visiting() as visitor, world.reconciling():
        await eventually(lambda: "v2 web.1" in world.running)
        await asyncio.sleep(0.5)
        assert "v1 web.1" in world.running
    assert visitor.failures == []
    assert visitor.answers > 10


async def test_an_app_that_is_no_more_desired_is_removed(world: World) -> None:
    await world.live(world.manifest(1, web=2, worker=1))
    del world.desired.manifests[APP]
    async with world.reconciling():
        await eventually(lambda: world.everything == [])
    assert world.routed == set()


# Crashes


async def test_a_crashed_instance_is_started_again_at_its_address_and_told(world: World) -> None:
    await world.live(world.manifest(1))
    (crashed,) = world.ids()
    async with world.reconciling() as control:
        await eventually(lambda: control.life.log.count("list done") >= 2)
        world.machine.crash(crashed, 3)
        await eventually(lambda: control.reports and world.converged())
    assert control.reports == ["web.1 exited with status 3; restarting"]
    assert world.ids() == [crashed]
    assert world.machine.restarts[crashed] == 1


async def test_out_of_memory_is_named(world: World) -> None:
    await world.live(world.manifest(1))
    async with world.reconciling() as control:
        world.machine.crash(world.ids()[0], 137, out_of_memory=True)
        await eventually(lambda: control.reports)
    assert control.reports[0].startswith("web.1 ran out of memory")


async def test_a_crash_loop_backs_off(world: World) -> None:
    """With a base of 0.2 s there is room for the free try and two or three more within a second."""
    world.backoff = 0.2
    await world.live(world.manifest(1, worker=1))
    world.machine.program = lambda image, command: Program(bind="nothing", exit_after=0, exit_code=1)
    world.desired.manifests[APP] = world.manifest(1, web=0, worker=1)
    async with world.reconciling() as control:
        for instance in world.ids("worker.1"):
            world.machine.find(instance).birth = loop_of(world, instance)
            world.machine.crash(instance)
        await asyncio.sleep(1)
        restarts = control.life.log.count("restart worker.1")
    assert 2 <= restarts <= 5, control.life.log


def loop_of(world: World, instance: str) -> object:
    from dataclasses import replace

    return replace(world.machine.find(instance).birth, program=Program(exit_after=0, exit_code=1))


async def test_one_of_several_that_crashes_does_not_fail_a_request(world: World) -> None:
    await world.live(world.manifest(1, web=3))
    async with world.reconciling():
        world.machine.crash(world.ids("web.2")[0])
        await eventually(world.converged)


# Health


async def test_an_instance_that_went_deaf_is_taken_out_and_restarted(world: World) -> None:
    await world.live(world.manifest(1, Program(bind_after=0.2), web=2))
    (deaf,) = world.ids("web.2")
    async with world.reconciling() as control:
        await eventually(lambda: control.life.log.count("list done") >= 2)
        world.machine.deafen(deaf)
        await eventually(lambda: deaf not in world.routed)
        await eventually(world.converged)
    assert any("web.2 is unhealthy (connection refused); restarting" in line for line in control.reports)
    assert world.machine.restarts[deaf] == 1


async def test_the_last_target_of_an_app_is_never_taken_away(world: World) -> None:
    await world.live(world.manifest(1))
    only = set(world.ids())
    async with world.reconciling() as control:
        world.machine.deafen(next(iter(only)))
        seen = set()
        while not control.reports:
            seen.add(frozenset(world.routed))
            await asyncio.sleep(0.005)
        await eventually(world.converged)
    assert seen == {frozenset(only)}


# Others at work


async def test_a_busy_app_is_left_alone_but_its_crashed_instances_come_back(world: World) -> None:
    await world.live(world.manifest(1))
    async with world.reconciling() as control:
        world.desired.busy_apps.add(APP)
        await control.engine.start(world.manifest(2), world.manifest(2).processes[0], 1)
        world.machine.crash(world.ids("web.1")[0])
        await eventually(lambda: control.reports)
        await eventually(lambda: world.running == ["v1 web.1", "v2 web.1"])
        await asyncio.sleep(0.3)
        assert world.running == ["v1 web.1", "v2 web.1"], "the new one belongs to a roll-out"
        control.free(APP)
        await eventually(world.converged)


# What is away


async def test_an_engine_that_goes_down_and_comes_back(world: World) -> None:
    await world.live(world.manifest(1, web=2))
    async with world.reconciling() as control:
        await eventually(lambda: control.life.log.count("list done") >= 2)
        world.machine.go_down()
        world.machine.crash(world.ids("web.1")[0])
        await asyncio.sleep(0.3)
        assert world.running == ["v1 web.2"]
        world.machine.come_back()
        await eventually(world.converged)


async def test_a_silent_router_is_asked_again(world: World) -> None:
    world.routers.silent = True
    world.desired.manifests[APP] = world.manifest(1)
    async with world.reconciling() as control:
        await eventually(lambda: control.life.log.count("swap") >= 2)
        world.routers.silent = False
        await eventually(world.converged)


async def test_a_silent_router_keeps_strangers_alive(world: World) -> None:
    await world.live(world.manifest(1))
    world.routers.silent = True
    world.desired.manifests[APP] = world.manifest(2)
    async with world.reconciling() as control:
        await eventually(lambda: control.life.log.count("swap") >= 2)
        assert world.running == ["v1 web.1", "v2 web.1"]


async def test_one_offs_of_a_dead_control_plane_are_swept(world: World) -> None:
    control = world.control()
    world.programs["image-1 migrate"] = Program()
    before = asyncio.all_tasks()
    asyncio.create_task(control.deploy(world.manifest(1, release_command=("migrate",))))  # noqa: RUF006
    await eventually(lambda: world.running == ["v1 release.1"])
    control.life.died.set()
    one_off = next(iter(world.machine.of("server")))
    before.add(asyncio.current_task())
    await kill(before)
    world.machine.remove(one_off)
    revived = world.machine.add(one_off.birth)
    revived.start()
    async with world.reconciling():
        await eventually(lambda: world.everything == [])


async def test_background_work_that_a_stop_overtakes_leaves_no_coroutine_behind(world: World) -> None:
    """One that nobody awaits is a warning whenever it is collected, in whatever runs then."""
    control = await world.live(world.manifest(1))
    del world.desired.manifests[APP]
    await control.reconciler.converge(APP)
    await control.reconciler.close()
    coroutines = [item for item in gc.get_objects() if inspect.iscoroutine(item)]
    unawaited = [item for item in coroutines if inspect.getcoroutinestate(item) == inspect.CORO_CREATED]
    assert [item.__qualname__ for item in unawaited] == []
    assert world.running == ["v1 web.1"]


# Chaos


@pytest.mark.parametrize("seed", range(6))
async def test_random_changes_faults_and_kills_end_in_what_is_desired(world: World, seed: int) -> None:
    """The app is live from the first to the last step, so a visitor is never failed by a change or a kill."""
    dice = random.Random(seed)
    await world.live(world.manifest(1, web=2, worker=1))
    async with Visitor(world).visiting() as visitor:
        for release in range(2, 10):
            await one_life(world, dice, release)
        world.machine.come_back()
        world.routers.silent = False
        async with world.reconciling():
            await eventually(world.converged)
    assert visitor.failures == []
    assert visitor.answers > 30


async def one_life(world: World, dice: random.Random, release: int) -> None:
    """A control plane starts, makes a change while something fails, and is killed somewhere."""
    control = world.control(dice.choice([None, dice.randrange(60)]))
    before = asyncio.all_tasks()
    asyncio.create_task(control.reconciler.run())  # noqa: RUF006
    change = asyncio.create_task(changed(world, control, dice, release))
    fault = asyncio.create_task(broken(world, dice))
    died = asyncio.create_task(control.life.died.wait())
    await asyncio.wait({change, died}, return_when=asyncio.FIRST_COMPLETED)
    await fault
    if change.done() and not change.cancelled():
        change.result()
    control.life.died.set()
    await kill(before)


async def changed(world: World, control, dice: random.Random, release: int) -> None:
    good = dice.random() < 0.7
    program = (
        Program(bind_after=dice.choice([0, 0.05]))
        if good
        else Program(bind="nothing", exit_after=0.02, exit_code=1)
    )
    try:
        retirement = await control.deploy(
            world.manifest(release, program, web=dice.choice([1, 2, 3]), worker=dice.choice([0, 1]))
        )
        if dice.random() < 0.7:
            await retirement.finish()
    except RolloutFailedError:
        return


async def broken(world: World, dice: random.Random) -> None:
    await asyncio.sleep(dice.random() * 0.1)
    kind = dice.choice(["nothing", "engine", "router", "worker"])
    if kind == "engine":
        world.machine.go_down()
    world.routers.silent = kind == "router"
    if kind == "worker":
        for instance in world.ids("worker.1"):
            world.machine.crash(instance)
    await asyncio.sleep(0.1)
    world.machine.come_back()
    world.routers.silent = False


async def test_a_step_says_when_the_engine_does_not_tell_what_runs(world: World) -> None:
    world.machine.go_down()
    with pytest.raises(EngineError):
        await world.control().reconciler.converge(APP)


async def test_what_a_retirement_stops_while_the_machine_is_listed_does_not_come_back_into_the_routes(
    world: World,
) -> None:
    """A listing may be old by the time it arrives: the instance it shows as running may have been stopped since."""
    control = await world.live(world.manifest(1))
    async with world.reconciling() as watching:
        await eventually(lambda: watching.reconciler._monitors._apps.get(APP))
        old = world.ids("web.1")[0]
        await eventually(lambda: world.routed == {old})
    del control
    made = world.control()
    app = world.desired.manifests[APP]
    await made.reconciler.converge(APP)
    await eventually(lambda: made.reconciler._is_ready(instance_of(made, old)))
    retirement = await made.rollout.restart(app, made.announce)
    world.desired.busy_apps.add(APP)
    listing = made.engine.list

    async def slow(app_id: str | None = None) -> Sequence[Instance]:
        found = await listing(app_id)
        await retirement.finish()
        world.desired.busy_apps.discard(APP)
        return found

    made.engine.list = slow  # type: ignore[method-assign]
    await made.reconciler.converge(APP)
    await made.reconciler.close()
    assert old not in world.routed


def instance_of(control: Control, instance_id: str) -> Instance:
    found = control.world.machine.find(instance_id)
    assert found is not None
    return found.instance(0, stopping=False)
