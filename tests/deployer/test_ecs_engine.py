"""What only the engine on ECS promises: resuming, refusals in words, secrets, detached one-offs, few calls."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace

import pytest
from deployer_world import eventually
from ecs_plane import PACE, Plane

from deployer.ecs import EcsEngine, EcsPace, SizeError
from deployer.manifest import Manifest, Process, Resources
from deployer.memory import Machine, Program
from deployer.ports import EngineError, Instance, OneOff

PATIENCE = 25.0
WORKER = Process("worker", ("work",), 9)
PROGRAMS = {
    "work": Program(),
    "talk": Program(lines=("one", "two", "three")),
    "deaf": Program(stop_after=None),
    "done": Program(exit_after=0),
    "fail": Program(lines=("sorry",), exit_after=0, exit_code=6),
}


@pytest.fixture
async def plane() -> AsyncIterator[Plane]:
    network = f"127.{random.randrange(120, 200)}.{random.randrange(256)}"
    machine = Machine(lambda image, command: PROGRAMS.get(command[-1]) if image == "image" else None)
    made = Plane(machine, [f"{network}.{last}" for last in range(1, 250)])
    made.open()
    yield made
    await made.close()
    machine.close()


@pytest.fixture
async def engine(plane: Plane) -> AsyncIterator[EcsEngine]:
    made = plane.engine()
    yield made
    await made.close()


def manifest(**values: object) -> Manifest:
    made = Manifest("app-id", "shop", 1, "image", (WORKER,), {"NAME": "value"})
    return replace(made, **values)  # type: ignore[arg-type]


# Resuming


async def test_a_start_goes_on_with_what_an_earlier_life_began(plane: Plane) -> None:
    """Its CreateService had its effect, and then the control plane was killed."""
    plane.start_after = 0.5
    first, second = plane.engine(), plane.engine()
    begun = asyncio.create_task(first.start(manifest(), WORKER, 1))
    await eventually(lambda: plane.services, PATIENCE)
    made = await second.start(manifest(), WORKER, 1)
    assert [made.id] == list(plane.services)
    assert plane.calls["create_service"] == 1
    assert (await begun).id == made.id
    await first.close()
    await second.close()


async def test_a_restart_goes_on_where_an_earlier_life_left_it(plane: Plane, engine: EcsEngine) -> None:
    """It had parked the service, and never asked for a task again."""
    made = await engine.start(manifest(), WORKER, 1)
    plane.client("ecs").update_service(cluster="apps", service=made.id, desiredCount=0)
    await eventually(lambda: not plane.running(made.id), PATIENCE)
    await engine.close()
    successor = plane.engine()
    (found,) = await successor.list()
    assert (found.id, found.state) == (made.id, "exited")
    assert (await successor.restart(found)).state == "running"
    await successor.close()


async def test_a_start_replaces_what_a_cut_off_stop_left_running(plane: Plane, engine: EcsEngine) -> None:
    plane.stop_scale = 0.15
    deaf = replace(WORKER, command=("deaf",))
    made = await engine.start(manifest(), deaf, 1)
    plane.client("ecs").update_service(cluster="apps", service=made.id, desiredCount=0)
    await engine.close()
    successor = plane.engine()
    assert plane.running(made.id)
    again = await successor.start(manifest(), deaf, 1)
    assert (again.id != made.id, again.state) == (True, "running")
    assert [item.id for item in await successor.list()] == [again.id]
    await successor.close()


async def test_a_start_that_is_cancelled_leaves_nothing(plane: Plane, engine: EcsEngine) -> None:
    plane.start_after = 5
    starting = asyncio.create_task(engine.start(manifest(), WORKER, 1))
    await eventually(lambda: plane.services, PATIENCE)
    starting.cancel()
    await asyncio.gather(starting, return_exceptions=True)
    assert await engine.list() == []
    assert [item.status == "ACTIVE" for item in plane.services.values()] == [False]


async def test_a_restart_of_what_ecs_has_replaced_leaves_the_fresh_task_alone(
    plane: Plane, engine: EcsEngine
) -> None:
    """The reconciler decides on what it saw a moment ago."""
    plane.replace_after = 0
    made = await engine.start(manifest(), WORKER, 1)
    plane.interrupt(made.id)
    await eventually(lambda: engine._board.services[made.id].instance.restarts == 1, PATIENCE)
    again = await engine.restart(made)
    assert (again.id, again.state, again.restarts) == (made.id, "running", 1)
    assert plane.wanted == []


# Refusals


async def test_a_size_that_fargate_lacks_is_refused_before_any_call(plane: Plane, engine: EcsEngine) -> None:
    odd = replace(WORKER, resources=Resources(memory_bytes=700 << 20))
    with pytest.raises(SizeError, match=r"nearest size is 1024 MiB with 0\.25 CPU"):
        await engine.start(manifest(env={}), odd, 1)
    assert engine.aws.calls["create_service"] == engine.aws.calls["register_task_definition"] == 0


async def test_an_image_that_cannot_be_pulled_is_named_and_leaves_nothing(
    plane: Plane, engine: EcsEngine
) -> None:
    with pytest.raises(EngineError, match=r"could not be pulled: CannotPullContainerError.* gone"):
        await engine.start(manifest(image="gone"), WORKER, 1)
    assert await engine.list() == []


async def test_no_capacity_fails_a_start_and_a_one_off_in_words(plane: Plane, engine: EcsEngine) -> None:
    plane.capacity = False
    with pytest.raises(EngineError, match="AWS has no capacity for it now") as caught:
        await engine.start(manifest(), WORKER, 1)
    assert caught.value.transient
    assert await engine.list() == []
    with pytest.raises(EngineError, match="AWS has no capacity for it now"):
        await engine.run(manifest(), ("work",), _nothing, PATIENCE)


async def test_a_start_that_takes_too_long_is_given_up(plane: Plane) -> None:
    plane.start_after = 30
    engine = plane.engine(pace=replace(PACE, start_limit=0.5))
    with pytest.raises(EngineError, match=r"did not start within 0\.5 s"):
        await engine.start(manifest(), WORKER, 1)
    assert await engine.list() == []
    await engine.close()


async def test_a_missing_permission_names_the_action(plane: Plane, engine: EcsEngine) -> None:
    plane.refuse(
        "create_service", "AccessDeniedException", "User x is not authorized to perform: ecs:CreateService."
    )
    with pytest.raises(EngineError, match=r"does not permit ecs:CreateService.*policy of the server's role"):
        await engine.start(manifest(), WORKER, 1)
    assert (await engine.start(manifest(), WORKER, 1)).state == "running"


async def test_a_cluster_that_is_not_there_is_named(plane: Plane) -> None:
    engine = plane.engine(cluster="elsewhere")
    with pytest.raises(EngineError, match="CYGNI_ECS_CLUSTER"):
        await engine.check()
    await engine.close()


async def test_config_that_is_too_large_is_refused(engine: EcsEngine) -> None:
    with pytest.raises(EngineError, match="64 KiB"):
        await engine.start(manifest(env={"BIG": "x" * 70_000}), WORKER, 1)


# Config and definitions


async def test_instances_of_a_release_share_a_definition_and_a_secret(
    plane: Plane, engine: EcsEngine
) -> None:
    for number in (1, 2, 3):
        await engine.start(manifest(), WORKER, number)
    calls = engine.aws.calls
    assert (calls["register_task_definition"], calls["create_secret"], calls["create_service"]) == (1, 1, 3)
    successor = plane.engine()
    await successor.start(manifest(), WORKER, 4)
    assert successor.aws.calls["register_task_definition"] == 0, "its content is registered already"
    await successor.close()


async def test_tasks_get_the_config_of_their_release(plane: Plane, engine: EcsEngine) -> None:
    await engine.start(manifest(), WORKER, 1)
    await engine.start(manifest(release=2, env={"NAME": "other"}), WORKER, 1)
    found = {item.birth.manifest.release: item.birth.manifest.env for item in plane.machine.of("server")}
    assert found == {1: {"NAME": "value"}, 2: {"NAME": "other"}}


async def test_a_secret_goes_with_the_last_instance_and_comes_back_with_the_next(
    plane: Plane, engine: EcsEngine
) -> None:
    first, second = [await engine.start(manifest(), WORKER, number) for number in (1, 2)]
    await engine.stop(first, 0)
    assert plane.secret("cygni/server/app-id/v1") == {"NAME": "value"}
    await engine.stop(second, 0)
    assert plane.secret("cygni/server/app-id/v1") is None
    await engine.start(manifest(env={"NAME": "new"}), WORKER, 1)
    assert plane.secret("cygni/server/app-id/v1") == {"NAME": "new"}


async def test_what_a_run_has_more_is_no_version_of_the_releases_secret(
    plane: Plane, engine: EcsEngine
) -> None:
    await engine.start(manifest(), WORKER, 1)
    more = manifest(env={"NAME": "value", "N": "7"})
    made = await engine.run_detached(more, OneOff(1, ("work",)))
    (birth,) = [item.birth for item in plane.machine.of("server") if item.birth.id == made.id]
    assert birth.manifest.env == {"NAME": "value", "N": "7"}
    assert plane.secrets() == {"cygni/server/app-id/v1": {"NAME": "value"}}
    assert engine.aws.calls["put_secret_value"] == 0


async def test_a_release_command_that_fails_leaves_no_secret_and_one_that_succeeds_leaves_it(
    plane: Plane, engine: EcsEngine
) -> None:
    assert await engine.run(manifest(), ("fail",), _nothing, PATIENCE) == 6
    assert plane.secrets() == {}
    assert await engine.run(manifest(), ("done",), _nothing, PATIENCE) == 0
    assert plane.secrets() == {"cygni/server/app-id/v1": {"NAME": "value"}}


async def test_secrets_that_kills_left_are_swept(plane: Plane, engine: EcsEngine) -> None:
    """A release that never got an instance, and a run whose control plane died before its task had started."""
    await engine.start(manifest(), WORKER, 1)
    plane.client("secretsmanager").create_secret(Name="cygni/server/app-id/v2", SecretString="{}")
    plane.client("secretsmanager").create_secret(Name="cygni/server/app-id/v1/run", SecretString="{}")
    plane.client("secretsmanager").create_secret(Name="cygni/another/app-id/v9", SecretString="{}")
    assert len(plane.secrets()) == 4
    await engine.sweep()
    assert plane.secrets().keys() == {"cygni/server/app-id/v1", "cygni/another/app-id/v9"}


async def test_a_server_that_may_not_list_secrets_sweeps_the_rest(
    plane: Plane, engine: EcsEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    call = engine.aws.call

    async def refusing(service: str, operation: str, /, **arguments: object) -> object:
        if operation == "list_secrets":
            raise EngineError("AWS does not permit secretsmanager:ListSecrets")
        return await call(service, operation, **arguments)

    run = asyncio.create_task(engine.run(manifest(), ("work",), _nothing, PATIENCE))
    await eventually(lambda: any(plane.running(found) for found in plane.tasks), PATIENCE)
    successor = plane.engine()
    monkeypatch.setattr(successor.aws, "call", refusing)
    await successor.sweep()
    with pytest.raises(EngineError, match="stopped before it ended"):
        await asyncio.wait_for(run, PATIENCE)
    await successor.close()


# One-offs


async def test_a_detached_one_off_has_a_name_lines_and_an_end(engine: EcsEngine) -> None:
    made = await engine.run_detached(manifest(), OneOff(3, ("fail",)))
    assert (made.name, made.one_off, made.address) == ("run.3", "detached", None)
    async with asyncio.timeout(PATIENCE), aclosing(engine.logs(made, None, follow=True)) as lines:
        assert [line.text async for line in lines] == ["sorry"]
    (found,) = await engine.one_offs("app-id")
    assert (found.id, found.state, found.exit_code) == (made.id, "exited", 6)
    assert await engine.list() == []
    await engine.stop(found, 0)
    assert await engine.one_offs() == []


async def test_detached_one_offs_outlive_their_control_plane_and_die_with_their_app(plane: Plane) -> None:
    first, second = plane.engine(), plane.engine()
    made = await first.run_detached(manifest(), OneOff(1, ("talk",)))
    await first.close()
    await second.sweep()
    assert [item.id for item in await second.one_offs()] == [made.id]
    await second.sweep("app-id")
    assert await second.one_offs() == []
    await eventually(lambda: not plane.running(made.id), PATIENCE)
    await second.close()


async def test_a_command_that_runtask_would_not_take_is_refused(engine: EcsEngine) -> None:
    with pytest.raises(EngineError, match="characters"):
        await engine.run_detached(manifest(), OneOff(1, ("sh", "-c", "x" * 9000)))


# How much is asked


async def test_throttling_is_waited_out(plane: Plane, engine: EcsEngine) -> None:
    for _ in range(2):
        plane.refuse("create_service", "ThrottlingException", "Rate exceeded")
    assert (await engine.start(manifest(), WORKER, 1)).state == "running"
    assert plane.calls["create_service"] == 3


async def test_looking_at_many_services_takes_batches(plane: Plane) -> None:
    """What a successor asks at its start for 500 services, and then at each slow look."""
    plane.fill("server", "image", 500)
    engine = plane.engine(pace=replace(PACE, safety=600))
    assert len(await engine.list()) == 500
    first = dict(plane.calls)
    assert first == {"list_services": 6, "describe_services": 50, "list_tasks": 7, "describe_tasks": 6}
    plane.calls.clear()
    await engine._board._look_at_everything()
    assert dict(plane.calls) == {"list_services": 6, "list_tasks": 7, "describe_tasks": 5}
    print(f"{sum(plane.calls.values()) * 60 / EcsPace().safety:g} calls a minute for 500 services")
    await engine.close()


async def test_many_who_wait_share_their_looks(plane: Plane, engine: EcsEngine) -> None:
    plane.start_after = 0.5
    await engine.list()
    await asyncio.gather(*[engine.start(manifest(), WORKER, number) for number in range(1, 21)])
    assert plane.calls["create_service"] == 20
    assert plane.calls["describe_tasks"] < 60, "20 who wait did not each look for themselves"


async def test_followers_share_one_question_to_cloudwatch(plane: Plane, engine: EcsEngine) -> None:
    talkers = [
        await engine.start(manifest(), replace(WORKER, command=("talk",)), number) for number in range(1, 6)
    ]

    async def three(number: int) -> list[str]:
        async with aclosing(engine.logs(talkers[number], None, follow=True)) as lines:
            return [(await anext(lines)).text for _ in range(3)]

    async with asyncio.timeout(PATIENCE):
        found = await asyncio.gather(*[three(number % 5) for number in range(20)])
    assert found == [["one", "two", "three"]] * 20
    before = engine.aws.calls["filter_log_events"]
    followers = [asyncio.create_task(_next_line(engine, item)) for item in talkers * 4]
    await asyncio.sleep(1)
    asked = engine.aws.calls["filter_log_events"] - before
    for item in talkers:
        plane.machine.say(item.id, "new")
    done = await asyncio.wait_for(asyncio.gather(*followers), PATIENCE)
    assert done == ["new"] * 20
    assert asked < 20 * 3 + 1 / PACE.log_tick


async def _next_line(engine: EcsEngine, instance: Instance) -> str:
    async with aclosing(engine.logs(instance, None, follow=True, tail=0)) as lines:
        return (await anext(lines)).text


async def _nothing(line: str) -> None:
    del line
