"""Agenda, back-off, diff, address pool and retirement by themselves."""

import asyncio
from dataclasses import replace
from ipaddress import IPv4Network

import pytest
from deployer_world import APP, World, eventually
from hypothesis import given
from hypothesis import strategies as st

from deployer.addresses import AddressPool
from deployer.agenda import Agenda
from deployer.backoff import FORGOTTEN_AFTER, Backoff
from deployer.diff import compare
from deployer.manifest import Manifest, Process
from deployer.memory import Machine, MemoryEngine, ProgramError, parse
from deployer.ports import Address, EngineError, Instance
from deployer.retirement import Patience, Retirement


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# Agenda


async def test_an_app_is_on_the_agenda_once_and_in_order() -> None:
    agenda = Agenda()
    for app in ("a", "b", "a"):
        agenda.mark(app)
    assert [await agenda.next(), await agenda.next()] == ["a", "b"]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(agenda.next(), 0.01)


async def test_one_marked_while_it_is_looked_at_is_looked_at_again() -> None:
    agenda = Agenda()
    agenda.mark("a")
    await agenda.next()
    agenda.mark("a")
    assert await agenda.next() == "a"


async def test_of_several_times_the_earliest_counts() -> None:
    agenda, loop = Agenda(), asyncio.get_running_loop()
    agenda.mark_in("a", 60)
    agenda.mark_in("a", 0.02)
    agenda.mark_in("a", 60)
    began = loop.time()
    assert await asyncio.wait_for(agenda.next(), 5) == "a"
    assert loop.time() - began >= 0.015
    agenda.mark_in("b", 0.01)
    agenda.close()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(agenda.next(), 0.05)


# Back-off


def test_the_first_try_is_free_and_the_next_ones_wait_twice_as_long() -> None:
    clock = Clock()
    backoff = Backoff(clock, base=1, cap=10)
    assert backoff.wait("a") == 0
    for least, most in [(0.5, 1), (1, 2), (2, 4), (4, 8), (5, 10), (5, 10)]:
        delay = backoff.tried("a")
        assert least <= delay <= most
        assert backoff.wait("a") == pytest.approx(delay)
        assert backoff.wait("b") == 0
        clock.now += delay
        assert backoff.wait("a") == 0


def test_whoever_stays_quiet_begins_anew() -> None:
    clock = Clock()
    backoff = Backoff(clock, base=1, cap=100, stable=60)
    for _ in range(6):
        clock.now += backoff.tried("a")
    clock.now += 61
    assert backoff.tried("a") <= 1


def test_what_was_not_tried_for_long_is_forgotten() -> None:
    clock = Clock()
    backoff = Backoff(clock)
    for number in range(100):
        backoff.tried(str(number))
    clock.now += FORGOTTEN_AFTER + 1000
    backoff.tried("new")
    assert list(backoff._tries) == ["new"]


# Diff

STATES = st.sampled_from(["starting", "running", "stopping", "exited"])
INSTANCES = st.lists(
    st.builds(
        Instance,
        id=st.uuids().map(str),
        app_id=st.just(APP),
        app=st.just("shop"),
        release=st.integers(1, 2),
        process=st.sampled_from(["web", "worker", "gone"]),
        number=st.integers(1, 3),
        state=STATES,
        address=st.just(Address("127.0.0.1", 1)),
        generation=st.integers(0, 2),
    ),
    max_size=12,
)


def manifest(web: int, worker: int) -> Manifest:
    processes = (Process("web", (), web), Process("worker", (), worker))
    return Manifest(app_id=APP, app="shop", release=2, image="i", processes=processes, env={})


@given(INSTANCES, st.integers(0, 3), st.integers(0, 3))
def test_every_slot_is_kept_or_missing_and_everything_else_is_a_stranger(
    observed: list[Instance], web: int, worker: int
) -> None:
    wanted = manifest(web, worker)
    diff = compare(wanted, observed, lambda item: item.state == "running")
    slots = {f"web.{n}" for n in range(1, web + 1)} | {f"worker.{n}" for n in range(1, worker + 1)}
    assert sorted([item.name for item in diff.kept] + [slot.name for slot in diff.missing]) == sorted(slots)
    present = [item for item in observed if item.state != "stopping"]
    assert sorted(item.id for item in [*diff.kept, *diff.strangers]) == sorted(item.id for item in present)
    assert all(item.release == 2 for item in diff.kept)
    for kept in diff.kept:
        rivals = [item for item in present if item.release == 2 and item.name == kept.name]
        assert kept.state == "running" or not any(item.state == "running" for item in rivals)
    ours = [item.generation for item in observed if item.release == 2]
    assert all(slot.generation > max(ours, default=-1) for slot in diff.missing)


@given(INSTANCES)
def test_without_a_live_release_everything_is_a_stranger(observed: list[Instance]) -> None:
    diff = compare(None, observed, lambda _: True)
    assert (diff.kept, diff.missing) == ((), ())
    assert len(diff.strangers) == sum(item.state != "stopping" for item in observed)


# Addresses


@given(st.lists(st.sampled_from(["take", "rest", "release", "reclaim"]), max_size=60))
def test_no_address_is_given_out_twice(steps: list[str]) -> None:
    pool, used, resting = AddressPool(IPv4Network("10.0.0.0/28")), {}, set()
    for number, step in enumerate(steps):
        if step == "take":
            if len(used) + len(resting) == 5:
                with pytest.raises(EngineError, match="CYGNI_NETWORK"):
                    pool.take()
                continue
            address = pool.take()
            assert address not in {*used.values(), *resting}
            used[str(number)] = address
            pool.assign(str(number), address)
        elif step == "reclaim":
            pool.reclaim("app")
            resting.clear()
        elif used:
            container, address = used.popitem()
            if step == "rest":
                pool.rest(container, "app")
                resting.add(address)
            else:
                pool.release(container)


# Retirement


async def test_nothing_is_stopped_while_the_routes_are_unknown(world: World) -> None:
    control = await world.live(world.manifest(1))
    leaving = await control.engine.list(APP)
    fresh = world.control()
    retirement = Retirement(fresh.engine, fresh.table, APP, Patience(), serving=(), leaving=leaving)
    assert await retirement.finish() == ()
    assert world.running == ["v1 web.1"]


async def test_requests_that_do_not_end_are_a_problem_and_the_instance_goes(world: World) -> None:
    control = await world.live(world.manifest(1))
    retirement = await control.deploy(world.manifest(2))

    async def busy(app_id: str, instance_ids: list[str], timeout: float) -> bool:
        return False

    control.table._routes.drained = busy
    assert await retirement.finish() == ("web.1 still had requests after 1 s.",)
    assert world.running == ["v2 web.1"]


async def test_an_address_rests_until_the_routers_know(world: World) -> None:
    control = await world.live(world.manifest(1))
    (old,) = [target.host for target in world.routers.tables[APP]]
    world.routers.silent = True
    await control.deploy(world.manifest(2))
    (leaving,) = [item for item in await control.engine.list(APP) if item.release == 1]
    await control.engine.stop(leaving, 0)
    pool = control.engine._engine._pool
    control.table.reclaim(APP)
    assert old in pool._taken
    world.routers.silent = False
    await control.table.publish(APP, await control.engine.list(APP))
    assert old not in pool._taken
    await eventually(lambda: world.running == ["v2 web.1"])


# Programs


def test_a_program_is_read_from_json() -> None:
    made = parse('{"lines": ["a", "b"], "bind": "loopback", "exit_after": 1.5}')
    assert (made.lines, made.bind, made.exit_after) == (("a", "b"), "loopback", 1.5)


@pytest.mark.parametrize("text", ["", "[]", "7", '{"colour": 1}', '{"bind": "moon"}', '{"lines": 7}'])
def test_what_is_no_program_is_refused(text: str) -> None:
    with pytest.raises(ProgramError, match="not a program"):
        parse(text)


# Scale


async def test_thousands_of_instances_cost_neither_tasks_nor_a_search_for_addresses() -> None:
    engine = MemoryEngine(Machine(), "server", IPv4Network("127.128.0.0/16"))
    before = asyncio.all_tasks()
    for number in range(300):
        app = replace(manifest(0, 10), app_id=str(number))
        for instance in range(1, 11):
            await engine.start(app, app.processes[1], instance)
    assert asyncio.all_tasks() == before
    assert len(await engine.list()) == 3000
    assert [item.name for item in await engine.list("7")] == [f"worker.{n}" for n in range(1, 11)]
