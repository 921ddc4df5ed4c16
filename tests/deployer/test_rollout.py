"""Roll-outs on the engine in memory: all or nothing, commit before swap, and whatever interrupts them."""

import asyncio

import pytest
from deployer_world import APP, Control, Visitor, World, eventually, failure_of, kill

from deployer.memory import Program
from deployer.ports import EngineError


def order(control: Control, *names: str) -> list[str]:
    """The steps among `names`, in the order in which they were taken."""
    return [step for step in control.life.log if step in names]


async def test_a_first_release_starts_commits_and_swaps(world: World) -> None:
    control = world.control()
    await (await control.deploy(world.manifest(1, web=2, worker=1))).finish()
    assert world.running == ["v1 web.1", "v1 web.2", "v1 worker.1"]
    assert world.routed == set(world.ids("web.1") + world.ids("web.2"))
    assert control.told[0] == "Starting web.1, web.2, worker.1"
    assert sorted(line.partition(" is up")[0] for line in control.told[1:]) == ["web.1", "web.2", "worker.1"]


async def test_the_order_is_start_commit_swap_drain_stop(world: World) -> None:
    control = await world.live(world.manifest(1))
    control.life.log.clear()
    await (await control.deploy(world.manifest(2))).finish()
    assert order(control, "start web.1 done", "commit", "commit done", "swap", "drained", "stop web.1") == [
        "start web.1 done", "commit", "commit done", "swap", "drained", "stop web.1"
    ]  # fmt: skip
    assert world.everything == ["v2 web.1"]


async def test_a_swap_loses_no_request(world: World) -> None:
    control = await world.live(world.manifest(1, web=2))
    async with Visitor(world).visiting() as visitor:
        for release in range(2, 7):
            await (await control.deploy(world.manifest(release, Program(answer_after=0.01), web=2))).finish()
    assert visitor.failures == []
    assert visitor.answers > 3


FAILURES = {
    "exited": Program(lines=("no database",), bind="nothing", exit_after=0, exit_code=3),
    "out-of-memory": Program(bind="nothing", exit_after=0.05, out_of_memory=True),
    "never-bound": Program(bind="nothing"),
    "bound-to-loopback": Program(bind="loopback"),
    "wrong-port": Program(bind="other-port"),
}


@pytest.mark.parametrize("cause", FAILURES)
async def test_a_release_that_does_not_come_up_says_why_and_leaves_what_ran(world: World, cause: str) -> None:
    control = await world.live(world.manifest(1))
    swaps = world.routers.swaps
    world.programs["image-2 web"] = FAILURES[cause]
    async with Visitor(world).visiting() as visitor:
        error = await failure_of(control.deploy(world.manifest(2, web=1, worker=2)))
    assert (error.phase, error.cause, error.instance) == ("boot", cause, "web.1")
    assert [line.text for line in error.tail] == list(FAILURES[cause].lines)
    assert error.exit_code == {"exited": 3, "out-of-memory": 137}.get(cause)
    assert world.everything == ["v1 web.1"]
    assert (world.routers.swaps, world.desired.manifests[APP].release) == (swaps, 1)
    assert visitor.failures == []


async def test_a_health_path_that_answers_500_is_unhealthy(world: World) -> None:
    manifest = world.manifest(1, Program(status=500))
    health = type(manifest.health)(path="/up", boot_timeout=0.3, probe_timeout=0.2)
    error = await failure_of(world.control().deploy(world.manifest(1, health=health)))
    assert (error.cause, error.last_probe) == ("unhealthy", "GET /up answered 500")
    assert world.everything == []


async def test_a_worker_that_ends_at_once_fails_the_release(world: World) -> None:
    world.programs["image-1 worker"] = Program(exit_after=0, exit_code=1)
    error = await failure_of(world.control().deploy(world.manifest(1, web=2, worker=1)))
    assert (error.instance, error.exit_code) == ("worker.1", 1)
    assert world.everything == []


async def test_what_ends_after_it_was_ready_fails_the_release_before_the_commit(world: World) -> None:
    """The worker is done before the slow web process is ready, and neither is taken."""
    world.programs["image-1 worker"] = Program(exit_after=0.15, exit_code=4)
    world.programs["image-1 web"] = Program(bind_after=0.4)
    control = world.control()
    error = await failure_of(control.deploy(world.manifest(1, worker=1)))
    assert (error.instance, error.exit_code) == ("worker.1", 4)
    assert "commit" not in control.life.log
    assert world.everything == []


async def test_a_failing_release_command_starts_nothing(world: World) -> None:
    control = await world.live(world.manifest(1))
    world.programs["image-2 migrate"] = Program(lines=("table is locked",), exit_after=0, exit_code=9)
    error = await failure_of(control.deploy(world.manifest(2, release_command=("migrate",))))
    assert (error.phase, error.cause, error.exit_code) == ("release", "release-failed", 9)
    assert [line.text for line in error.tail] == ["table is locked"]
    assert "table is locked" in control.told
    assert world.everything == ["v1 web.1"]
    assert control.life.log.count("start web.1") == 1


async def test_a_release_command_that_hangs_is_killed(world: World) -> None:
    error = await failure_of(
        world.control().deploy(world.manifest(1, release_command=("migrate",), release_timeout=0.1))
    )
    assert (error.phase, error.cause) == ("release", "timeout")
    assert world.everything == []


async def test_a_failing_commit_is_a_failure_of_the_release(world: World) -> None:
    control = await world.live(world.manifest(1))
    swaps = world.routers.swaps

    async def commit() -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        await control.rollout.run(world.manifest(2), control.announce, commit)
    assert world.everything == ["v1 web.1"]
    assert world.routers.swaps == swaps


async def test_an_image_that_is_gone_is_a_failure_to_start(world: World) -> None:
    error = await failure_of(world.control().deploy(world.manifest(1, image="gone")))
    assert (error.phase, error.cause) == ("start", "engine")
    assert "no such image" in error.detail


async def test_an_engine_that_is_down_fails_the_roll_out(world: World) -> None:
    control = await world.live(world.manifest(1))
    world.machine.go_down()
    error = await failure_of(control.deploy(world.manifest(2)))
    assert error.cause == "engine"
    world.machine.come_back()
    assert world.everything == ["v1 web.1"]


async def test_an_engine_that_goes_down_while_instances_boot_fails_the_roll_out(world: World) -> None:
    control = await world.live(world.manifest(1))
    deploy = asyncio.create_task(failure_of(control.deploy(world.manifest(2, Program(bind_after=5)))))
    await eventually(lambda: len(world.running) == 2)
    world.machine.go_down("the socket is gone")
    error = await deploy
    assert (error.cause, error.detail) == ("engine", "the socket is gone")
    world.machine.come_back()
    async with world.reconciling():
        await eventually(world.converged)
    assert world.everything == ["v1 web.1"]


async def test_a_silent_router_delays_retirement_and_undoes_nothing(world: World) -> None:
    control = await world.live(world.manifest(1))
    world.routers.silent = True
    retirement = await control.deploy(world.manifest(2))
    assert "has not confirmed" in retirement.problems[0]
    await retirement.finish()
    assert world.running == ["v1 web.1", "v2 web.1"], "a router may still send requests to the old one"
    world.routers.silent = False
    async with world.reconciling():
        await eventually(world.converged)
    assert world.everything == ["v2 web.1"]


async def test_an_old_instance_that_cannot_be_stopped_is_a_problem_and_left_to_the_reconciler(
    world: World,
) -> None:
    control = await world.live(world.manifest(1))
    retirement = await control.deploy(world.manifest(2))
    world.machine.go_down()
    problems = await retirement.finish()
    assert problems == ("web.1 could not be stopped: the engine does not answer",)
    world.machine.come_back()
    async with world.reconciling():
        await eventually(world.converged)


# Scale, restart, the end


async def test_scaling_up_adds_and_scaling_down_takes_the_highest(world: World) -> None:
    control = await world.live(world.manifest(1))
    first = world.ids("web.1")
    async with Visitor(world).visiting() as visitor:
        await (await control.rollout.scale(world.manifest(1, web=3), "web", control.announce)).finish()
        assert world.running == ["v1 web.1", "v1 web.2", "v1 web.3"]
        assert len(world.routed) == 3
        await (await control.rollout.scale(world.manifest(1, web=2), "web", control.announce)).finish()
    assert world.everything == ["v1 web.1", "v1 web.2"]
    assert world.ids("web.1") == first
    assert world.routed == set(world.ids())
    assert visitor.failures == []


async def test_scaling_to_nothing_takes_the_routes_away_first(world: World) -> None:
    control = await world.live(world.manifest(1, web=2))
    control.life.log.clear()
    await (await control.rollout.scale(world.manifest(1, web=0), "web", control.announce)).finish()
    assert world.everything == []
    assert world.routed == set()
    assert control.life.log.index("swap done") < control.life.log.index("stop web.1")


async def test_a_scale_up_that_fails_leaves_as_many_as_before(world: World) -> None:
    control = await world.live(world.manifest(1, web=2))
    ids = set(world.ids())
    world.programs["image-1"] = Program(bind="nothing", exit_after=0, exit_code=1)
    await failure_of(control.rollout.scale(world.manifest(1, web=4), "web", control.announce))
    assert set(world.ids()) == ids == world.routed


async def test_a_scale_leaves_an_instance_that_does_not_answer_out_of_the_routes(world: World) -> None:
    control = await world.live(world.manifest(1, web=2))
    deaf = world.ids("web.2")[0]
    world.machine.deafen(deaf)
    await (await control.rollout.scale(world.manifest(1, web=3), "web", control.announce)).finish()
    assert deaf not in world.routed
    assert len(world.routed) == 2


async def test_a_restart_replaces_every_instance_without_a_gap(world: World) -> None:
    manifest = world.manifest(1, web=2, worker=1)
    control = await world.live(manifest)
    before = set(world.ids())
    async with Visitor(world).visiting() as visitor:
        await (await control.rollout.restart(manifest, control.announce)).finish()
    assert world.running == ["v1 web.1", "v1 web.2", "v1 worker.1"]
    assert not before & set(world.ids())
    assert {item.birth.generation for item in world.machine.of("server")} == {1}
    assert visitor.failures == []


async def test_a_restart_that_fails_leaves_what_runs(world: World) -> None:
    control = await world.live(world.manifest(1))
    before = world.ids()
    world.programs["image-1"] = Program(bind="nothing", exit_after=0)
    await failure_of(control.rollout.restart(world.manifest(1), control.announce))
    assert world.ids() == before
    assert world.routed == set(before)


async def test_stop_all_takes_routes_then_instances_then_one_offs(world: World) -> None:
    control = await world.live(world.manifest(1, web=2, worker=1))
    assert await control.rollout.stop_all(APP) == ()
    assert world.everything == []
    assert world.routed == set()


# Interruptions

STEPS = 28
"""More than a roll-out from v1 to v2 takes; a kill at a later step is none."""


def settled(world: World) -> bool:
    return world.converged() and world.desired.manifests[APP].release in {1, 2}


@pytest.mark.parametrize("steps", range(STEPS))
async def test_a_kill_between_any_two_steps_converges_without_a_failed_request(
    world: World, steps: int
) -> None:
    await world.live(world.manifest(1, web=2, worker=1))
    world.programs["image-2 migrate"] = Program(exit_after=0)
    async with Visitor(world).visiting() as visitor:
        control = world.control(steps)
        before = asyncio.all_tasks()

        async def change() -> None:
            await (
                await control.deploy(world.manifest(2, web=2, worker=1, release_command=("migrate",)))
            ).finish()

        doing = asyncio.create_task(change())
        died = asyncio.create_task(control.life.died.wait())
        await asyncio.wait({doing, died}, return_when=asyncio.FIRST_COMPLETED)
        assert steps < STEPS - 1 or doing.done(), "STEPS is too small to cover a whole roll-out"
        control.life.died.set()
        await kill(before)
        release = world.desired.manifests[APP].release
        async with world.reconciling():
            await eventually(lambda: settled(world))
        assert world.desired.manifests[APP].release == release, (
            "a reconciler moves what runs, not what is desired"
        )
    assert visitor.failures == []


@pytest.mark.parametrize("steps", range(STEPS))
async def test_a_cancel_between_any_two_steps_is_all_or_nothing(world: World, steps: int) -> None:
    """As by `builds:cancel` or an orderly stop: the control plane lives on and cleans up by itself."""
    control = await world.live(world.manifest(1, web=2))
    reached = asyncio.Event()
    count = 0
    take = control.life.step

    async def step(name: str) -> None:
        nonlocal count
        await take(name)
        if name.endswith("done"):
            return  # an engine whose call has had its effect gives nobody a turn before it returns
        if count == steps:
            reached.set()
        count += 1
        await asyncio.sleep(0)

    control.life.step = step
    doing = asyncio.create_task(control.deploy(world.manifest(2, web=2)))
    waiting = asyncio.create_task(reached.wait())
    await asyncio.wait({doing, waiting}, return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    doing.cancel()
    await asyncio.gather(doing, return_exceptions=True)
    if world.desired.manifests[APP].release == 1:
        await eventually(lambda: world.everything == ["v1 web.1", "v1 web.2"])
    else:
        # The caller never got the retirement; the old release is the reconciler's to remove.
        assert world.routed == {
            i.birth.id for i in world.machine.of("server") if i.birth.manifest.release == 2
        }
    async with world.reconciling():
        await eventually(lambda: settled(world))


async def test_engine_errors_are_what_the_port_says(world: World) -> None:
    world.machine.go_down()
    with pytest.raises(EngineError) as caught:
        await world.control().engine.check()
    assert caught.value.transient


async def test_commit_and_swap_are_one_step_however_often_the_change_is_cancelled(world: World) -> None:
    """A second cancel (the server stops while somebody cancels a build) does not come between the two."""
    control = await world.live(world.manifest(1))
    committing, go_on = asyncio.Event(), asyncio.Event()
    second = world.manifest(2)

    async def commit() -> None:
        committing.set()
        await go_on.wait()
        world.desired.manifests[APP] = second

    change = asyncio.create_task(control.rollout.run(second, control.announce, commit))
    await committing.wait()
    for _ in range(3):
        change.cancel()
        for _ in range(5):  # until it waits again
            await asyncio.sleep(0)
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await change
    assert world.desired.manifests[APP] is second
    assert {target.name for target in world.routers.tables[APP]} == {"web.1"}
    assert world.routed <= {
        item.birth.id for item in world.machine.of("server") if item.birth.manifest.release == 2
    }
