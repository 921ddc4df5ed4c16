"""Every promise of the Engine port, asked of each engine in the same words."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, closing
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from ecs_plane import Plane

from deployer.docker import DockerEngine
from deployer.ecs import NotOnEcsError
from deployer.manifest import Health, Manifest, Process
from deployer.memory import Machine, MemoryEngine, Program
from deployer.ports import Attachment, Engine, EngineError, Event, Instance, OneOff
from deployer.probe import greet

SOCKET = Path("/var/run/docker.sock")
STACK = "cygni-stack/debian-bookworm:run"
PATIENCE = 20.0

IDLE = "trap 'exit 0' TERM; while :; do sleep 0.05; done"
STUBBORN = "trap '' TERM; echo deaf; while :; do sleep 0.05; done"
TALKING = "for n in 1 2 3 4 5; do echo line $n; sleep 0.1; done; " + IDLE
FAILING = "echo out; sleep 0.05; echo last words; exit 7"
SLEEPING = "sleep 60"
ECHOING = "cat; exit 4"
TWO_STREAMS = "echo out; echo err >&2; exit 3"
WEB = """
use IO::Socket::INET; $SIG{TERM} = sub { exit 0 };
$s = IO::Socket::INET->new(LocalAddr => "HOST", LocalPort => $ENV{PORT}, Listen => 9, ReuseAddr => 1) or die;
while (1) { $c = $s->accept or next; <$c>; print $c "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"; close $c }
"""


def shell(line: str) -> tuple[str, ...]:
    return ("sh", "-c", line)


WEB_COMMAND = ("perl", "-e", WEB.replace("HOST", "0.0.0.0"))
LOOPBACK_COMMAND = ("perl", "-e", WEB.replace("HOST", "127.0.0.1"))
PROGRAMS = {
    shell(IDLE): Program(),
    shell(STUBBORN): Program(lines=("deaf",), stop_after=None),
    shell(TALKING): Program(lines=tuple(f"line {n}" for n in range(1, 6)), line_every=0.1),
    shell(FAILING): Program(lines=("out", "last words"), line_every=0.05, exit_after=0, exit_code=7),
    shell(SLEEPING): Program(stop_after=None),
    shell(ECHOING): Program(echoes=True, exit_code=4),
    shell(TWO_STREAMS): Program(lines=("out",), exit_after=0, exit_code=3),
    WEB_COMMAND: Program(),
    LOOPBACK_COMMAND: Program(bind="loopback"),
}


def programs(image: str, command: tuple[str, ...]) -> Program | None:
    return PROGRAMS[command] if image == STACK else None


@dataclass(frozen=True)
class Promises:
    """What the port leaves to an engine: decision record 18 says why one of them cannot promise it."""

    keeps_addresses: bool = True
    """It gives addresses out itself: not again before `reclaim`, and the same one after a restart."""
    sees_inside: bool = True
    """It tells where processes listen."""
    setting: str = "CYGNI_NETWORK"
    """What to change when no address is left."""


@dataclass
class Bench:
    """Engines of one server on one machine, as a control plane and its successor have them."""

    make: Callable[[], Engine]
    engine: Engine
    app_id: str
    promises: Promises = Promises()

    def manifest(self, *processes: Process, **values: object) -> Manifest:
        made = Manifest(
            app_id=self.app_id, app="contract", release=1, image=STACK, processes=processes, env={"NAME": "value"},
            port=5700,
        )  # fmt: skip
        return replace(made, **values)

    async def start(
        self, command: tuple[str, ...], type: str = "worker", number: int = 1, **values: object
    ) -> Instance:
        process = Process(type, command, 9)
        generation = int(str(values.pop("generation", 0)))
        return await self.engine.start(
            self.manifest(process, **values), process, number, generation=generation
        )


@asynccontextmanager
async def docker_bench(subnet: str) -> AsyncIterator[Bench]:
    server = uuid4().hex[:8]
    made: list[DockerEngine] = []

    def make() -> DockerEngine:
        made.append(DockerEngine(SOCKET, server, IPv4Network(subnet)))
        return made[-1]

    try:
        yield Bench(make, make(), uuid4().hex)
    finally:
        for engine in made:
            await engine.close()
        await asyncio.to_thread(clean, server)


def clean(server: str) -> None:
    with closing(docker.from_env()) as client:
        label = {"label": f"cygni.server={server}"}
        for container in client.containers.list(all=True, filters=label):
            container.remove(force=True)
        for network in client.networks.list(filters=label):
            network.remove()


@asynccontextmanager
async def memory_bench(subnet: str) -> AsyncIterator[Bench]:
    machine = Machine(programs)
    network = IPv4Network(subnet.replace("10.", "127.", 1))

    def make() -> MemoryEngine:
        return MemoryEngine(machine, "server", network)

    yield Bench(make, make(), uuid4().hex)
    machine.close()


@asynccontextmanager
async def ecs_bench(subnet: str) -> AsyncIterator[Bench]:
    machine = Machine(programs)
    network = IPv4Network(subnet.replace("10.", "127.", 1))
    plane = Plane(machine, [str(network[offset]) for offset in range(10, 15)])
    plane.open()
    made: list[Engine] = []

    def make() -> Engine:
        made.append(plane.engine())
        return made[-1]

    try:
        yield Bench(make, make(), uuid4().hex, Promises(False, False, "CYGNI_ECS_SUBNETS"))
    finally:
        for engine in made:
            await engine.close()
        await plane.close()
        machine.close()


BENCHES = {"docker": docker_bench, "memory": memory_bench, "ecs": ecs_bench}
ATTACHING = ["memory", pytest.param("docker", marks=pytest.mark.docker)]


@pytest.fixture(params=[*ATTACHING, "ecs"])
async def bench(request: pytest.FixtureRequest, subnet: str) -> AsyncIterator[Bench]:
    async with BENCHES[request.param](subnet) as made:
        yield made


@pytest.fixture(params=ATTACHING)
async def attaching(request: pytest.FixtureRequest, subnet: str) -> AsyncIterator[Bench]:
    """Engines that join a caller to a process; that ECS refuses it clearly is a test of its own."""
    async with BENCHES[request.param](subnet) as made:
        yield made


@pytest.fixture
def engine(bench: Bench) -> Engine:
    return bench.engine


async def lines(stream: AsyncGenerator[object, None]) -> list[str]:
    async with asyncio.timeout(PATIENCE), aclosing(stream):
        return [line.text async for line in stream]


async def until(stream: AsyncGenerator[Event, None], kind: str) -> list[Event]:
    """The events up to the first of a kind."""
    found = []
    async with asyncio.timeout(PATIENCE):
        async for event in stream:
            found.append(event)
            if event.kind == kind:
                return found
    raise AssertionError(f"no {kind} in {found}")


async def printed(engine: Engine, instance: Instance, text: str) -> None:
    async with asyncio.timeout(PATIENCE), aclosing(engine.logs(instance, None, follow=True)) as stream:
        async for line in stream:
            if line.text == text:
                return
    raise AssertionError(f"it never printed {text}")


async def ignore(line: str) -> None:
    del line


# Starting


async def test_a_started_instance_says_what_it_is(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(IDLE), number=3, release=12, generation=4)
    assert (made.app_id, made.app, made.release, made.process, made.number, made.generation) == (
        bench.app_id, "contract", 12, "worker", 3, 4
    )  # fmt: skip
    assert (made.state, made.address, made.name) == ("running", None, "worker.3")
    found = await engine.inspect(made.id)
    assert found is not None
    assert replace(found, started_at=None) == replace(made, started_at=None)
    assert found.started_at is not None


async def test_an_identical_instance_that_runs_is_returned(bench: Bench, engine: Engine) -> None:
    first = await bench.start(shell(IDLE))
    assert (await bench.start(shell(IDLE))).id == first.id
    assert (await bench.make().list(bench.app_id))[0].id == first.id


@pytest.mark.parametrize("other", [{"release": 2}, {"number": 2}, {"generation": 1}, {"type": "clock"}])
async def test_another_release_number_generation_or_type_is_another_instance(
    bench: Bench, engine: Engine, other: dict[str, object]
) -> None:
    first = await bench.start(shell(IDLE))
    second = await bench.start(shell(IDLE), **other)
    assert first.id != second.id
    assert {item.id for item in await engine.list()} == {first.id, second.id}


async def test_one_that_has_exited_is_replaced(bench: Bench, engine: Engine) -> None:
    first = await bench.start(shell(FAILING))
    await engine.wait(first)
    second = await bench.start(shell(FAILING))
    assert first.id != second.id
    assert await engine.inspect(first.id) is None


async def test_a_missing_image_is_an_error_and_leaves_nothing(bench: Bench, engine: Engine) -> None:
    with pytest.raises(EngineError, match="no-such-image"):
        await bench.start(shell(IDLE), image="cygni-no-such-image:latest")
    assert await engine.list() == []


async def test_only_routed_processes_have_addresses_and_no_two_the_same(bench: Bench) -> None:
    made = [await bench.start(WEB_COMMAND, "web", number) for number in (1, 2, 3)]
    assert all(item.address is not None and item.address.port == 5700 for item in made)
    assert len({item.address for item in made}) == 3


async def test_instances_are_listed_by_app_in_every_state(bench: Bench, engine: Engine) -> None:
    running, ended = await bench.start(shell(IDLE)), await bench.start(shell(FAILING), number=2)
    await engine.wait(ended)
    other = await bench.start(shell(IDLE), app_id="other")
    assert {item.id: item.state for item in await engine.list(bench.app_id)} == {
        running.id: "running", ended.id: "exited"
    }  # fmt: skip
    assert {item.id for item in await engine.list()} == {running.id, ended.id, other.id}


# Addresses


async def test_an_address_is_given_out_again_only_after_it_was_reclaimed(
    bench: Bench, engine: Engine
) -> None:
    """The subnet has five addresses."""
    made = [await bench.start(shell(IDLE), number=n) for n in range(1, 6)]
    with pytest.raises(EngineError, match=bench.promises.setting):
        await bench.start(shell(IDLE), number=6)
    await engine.stop(made[0], 5)
    if not bench.promises.keeps_addresses:
        await bench.start(shell(IDLE), number=6)
        return
    with pytest.raises(EngineError, match="CYGNI_NETWORK"):
        await bench.start(shell(IDLE), number=6)
    engine.reclaim("another app")
    with pytest.raises(EngineError, match="CYGNI_NETWORK"):
        await bench.start(shell(IDLE), number=6)
    engine.reclaim(bench.app_id)
    await bench.start(shell(IDLE), number=6)


async def test_an_engine_that_starts_again_knows_the_addresses_in_use(bench: Bench) -> None:
    first = await bench.start(WEB_COMMAND, "web", 1)
    bench.engine = bench.make()
    others = [await bench.start(WEB_COMMAND, "web", number) for number in (2, 3, 4, 5)]
    assert first.address not in {item.address for item in others}


# Stopping


async def test_a_stop_is_graceful(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(IDLE))
    await ready_for_signals(engine, made)
    ended = asyncio.create_task(until(engine.events(), "destroy"))
    await asyncio.sleep(0)
    await engine.stop(made, 30)
    assert [event.exit_code for event in await ended if event.kind == "die"] == [0]
    assert await engine.inspect(made.id) is None


async def ready_for_signals(engine: Engine, instance: Instance) -> None:
    """A shell that has just been started has no trap yet."""
    if isinstance(engine, DockerEngine):
        await asyncio.sleep(0.3)


async def test_one_that_ignores_it_is_killed(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(STUBBORN))
    await printed(engine, made, "deaf")
    events = engine.events()
    began = asyncio.get_running_loop().time()
    await engine.stop(made, 1)
    assert asyncio.get_running_loop().time() - began >= 0.9
    async with aclosing(events):
        assert [event.exit_code for event in await until(events, "destroy") if event.kind == "die"] == [137]


async def test_a_stop_under_way_is_for_good(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(STUBBORN))
    await printed(engine, made, "deaf")
    stop = asyncio.create_task(engine.stop(made, 2))
    await asyncio.sleep(0.3)
    assert [item.state for item in await engine.list(bench.app_id)] == ["stopping"]
    with pytest.raises(EngineError):
        await engine.restart(made)
    await stop
    assert await engine.list(bench.app_id) == []


async def test_a_stop_that_was_given_up_can_be_repeated(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(STUBBORN))
    await printed(engine, made, "deaf")
    stop = asyncio.create_task(engine.stop(made, 30))
    await asyncio.sleep(0.3)
    stop.cancel()
    await asyncio.gather(stop, return_exceptions=True)
    assert [item.state for item in await engine.list(bench.app_id)] == ["running"]
    await engine.stop(made, 0)
    assert await engine.list(bench.app_id) == []


# What is gone


async def test_what_is_gone_is_gone_for_every_call(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(IDLE))
    await engine.stop(made, 0)
    await engine.stop(made, 0)
    assert await engine.inspect(made.id) is None
    assert await engine.wait(made) is None
    assert list(await engine.listening(made)) == []
    assert await lines(engine.logs(made, None, follow=True)) == []
    with pytest.raises(EngineError):
        await engine.restart(made)


# Waiting and restarting


async def test_wait_tells_how_it_ended(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(FAILING))
    async with asyncio.timeout(PATIENCE):
        ended = await engine.wait(made)
    assert ended is not None
    assert (ended.state, ended.exit_code, ended.out_of_memory) == ("exited", 7, False)
    assert ended.finished_at is not None
    assert await engine.wait(made) == ended


async def test_a_restart_keeps_identity_and_address(bench: Bench, engine: Engine) -> None:
    made = await bench.start(WEB_COMMAND, "web")
    again = await engine.restart(made, 5)
    assert (again.id, again.name, again.state) == (made.id, made.name, "running")
    assert again.address is not None
    assert again.address == made.address or not bench.promises.keeps_addresses
    assert (made.restarts, again.restarts) == (0, 1)
    assert again.started_at is not None
    assert made.started_at is not None
    assert again.started_at > made.started_at


async def test_one_that_has_ended_is_started_again(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(FAILING))
    await engine.wait(made)
    again = await engine.restart(made)
    assert again.exit_code is None or again.state == "exited"
    await engine.wait(again)
    assert await lines(engine.logs(made, None, follow=False)) == ["out", "last words"] * 2


# Listening


async def answers(instance: Instance) -> bool:
    assert instance.address is not None
    return (await greet(instance.address, Health(probe_timeout=1), 1)).ready


async def eventually_answers(instance: Instance) -> None:
    async with asyncio.timeout(PATIENCE):
        while not await answers(instance):
            await asyncio.sleep(0.05)


async def test_a_web_process_is_reached_at_its_address(bench: Bench, engine: Engine) -> None:
    made = await bench.start(WEB_COMMAND, "web")
    await eventually_answers(made)
    assert [item.port for item in await engine.listening(made)] == [5700] * bench.promises.sees_inside
    await engine.stop(made, 5)
    assert not await answers(made)


async def test_one_that_binds_nothing_listens_nowhere(bench: Bench, engine: Engine) -> None:
    """Not even where the engine's own name server does."""
    assert list(await engine.listening(await bench.start(shell(IDLE)))) == []


async def test_a_listener_on_loopback_is_seen_from_inside_only(bench: Bench, engine: Engine) -> None:
    made = await bench.start(LOOPBACK_COMMAND, "web")
    if not bench.promises.sees_inside:
        assert list(await engine.listening(made)) == []
        assert not await answers(made)
        return
    async with asyncio.timeout(PATIENCE):
        while not (found := await engine.listening(made)):
            await asyncio.sleep(0.05)
    assert [(item.host, item.port) for item in found] == [("127.0.0.1", 5700)]
    assert not await answers(made)


# Logs


async def test_logs_are_told_in_order_and_by_tail(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(TALKING))
    await printed(engine, made, "line 5")
    wanted = [f"line {n}" for n in range(1, 6)]
    assert await lines(engine.logs(made, None, follow=False)) == wanted
    assert await lines(engine.logs(made, None, follow=False, tail=2)) == wanted[-2:]


async def test_following_goes_on_from_any_line_without_gap_or_repetition(
    bench: Bench, engine: Engine
) -> None:
    made = await bench.start(shell(TALKING))
    got, since = [], None
    async with asyncio.timeout(PATIENCE):
        while len(got) < 5:
            async with aclosing(engine.logs(made, since, follow=True)) as stream:
                line = await anext(stream)
            got, since = [*got, line.text], line.at
    assert got == [f"line {n}" for n in range(1, 6)]


async def test_following_ends_with_the_instance_and_has_its_last_line(bench: Bench, engine: Engine) -> None:
    made = await bench.start(shell(FAILING))
    assert await lines(engine.logs(made, None, follow=True)) == ["out", "last words"]


# Events


async def test_events_begin_with_the_call_not_with_the_first_look(bench: Bench, engine: Engine) -> None:
    """Whoever lists between the two must not miss what happens meanwhile."""
    await bench.start(shell(IDLE), number=2)
    async with aclosing(engine.events()) as events:
        made = await bench.start(shell(FAILING))
        await engine.wait(made)
        found = await until(events, "die")
    assert [(event.instance_id, event.kind, event.app_id) for event in found] == [
        (made.id, "start", bench.app_id), (made.id, "die", bench.app_id)
    ]  # fmt: skip
    assert found[-1].exit_code == 7


async def test_one_offs_make_no_events(bench: Bench, engine: Engine) -> None:
    async with aclosing(engine.events()) as events:
        assert await engine.run(bench.manifest(), shell(FAILING), ignore, PATIENCE) == 7
        made = await bench.start(shell(FAILING))
        assert {event.instance_id for event in await until(events, "die")} == {made.id}


# One-offs


async def test_a_one_off_tells_its_output_and_exit_code_and_is_never_listed(
    bench: Bench, engine: Engine
) -> None:
    got: list[str] = []

    async def note(line: str) -> None:
        got.append(line)
        assert await engine.list() == []

    assert await engine.run(bench.manifest(), shell(FAILING), note, PATIENCE) == 7
    assert got == ["out", "last words"]


async def test_a_one_off_over_its_time_is_killed(bench: Bench, engine: Engine) -> None:
    with pytest.raises(TimeoutError):
        await engine.run(bench.manifest(), shell(SLEEPING), ignore, 0.3)


async def test_a_one_off_that_cannot_start_is_an_error(bench: Bench, engine: Engine) -> None:
    with pytest.raises(EngineError):
        await engine.run(bench.manifest(image="cygni-no-such-image:latest"), shell(IDLE), ignore, PATIENCE)


async def test_a_sweep_removes_one_offs_of_a_dead_control_plane_and_leaves_those_of_this_one(
    bench: Bench, engine: Engine
) -> None:
    """The instance is no one-off, so it stays; the one-off belongs to `engine`, so only another one sweeps it."""
    kept = await bench.start(shell(IDLE))
    running = asyncio.Event()

    async def note(line: str) -> None:
        running.set()

    run = asyncio.create_task(engine.run(bench.manifest(), shell(TALKING), note, PATIENCE))
    async with asyncio.timeout(PATIENCE):
        await running.wait()
    await engine.sweep()
    assert not run.done()
    await bench.make().sweep()
    done, _ = await asyncio.wait([run], timeout=PATIENCE)
    assert done, "it was not swept"
    assert isinstance(run.exception(), EngineError) or run.result() == 137
    assert [item.id for item in await engine.list()] == [kept.id]


async def test_a_sweep_of_an_app_takes_its_one_offs_only(bench: Bench, engine: Engine) -> None:
    running = asyncio.Event()

    async def note(line: str) -> None:
        running.set()

    run = asyncio.create_task(engine.run(bench.manifest(), shell(TALKING), note, PATIENCE))
    async with asyncio.timeout(PATIENCE):
        await running.wait()
    await engine.sweep("another app")
    assert not run.done()
    await engine.sweep(bench.app_id)
    done, _ = await asyncio.wait([run], timeout=PATIENCE)
    assert done, "it was not swept"
    assert isinstance(run.exception(), EngineError) or run.result() == 137


# Servers


async def test_the_check_passes_while_the_engine_answers(engine: Engine) -> None:
    await engine.check()


async def output_of(attachment: Attachment) -> bytes:
    parts = []
    async with asyncio.timeout(PATIENCE):
        while (piece := await attachment.read()) is not None:
            parts.append(piece[1])
    return b"".join(parts)


async def test_an_engine_that_cannot_attach_says_so(subnet: str) -> None:
    async with ecs_bench(subnet) as bench:
        with pytest.raises(NotOnEcsError, match="run -d"):
            await bench.engine.run_attached(bench.manifest(), OneOff(1, shell(ECHOING)))
        instance = await bench.start(shell(IDLE))
        with pytest.raises(NotOnEcsError, match="not there yet on ECS"):
            await bench.engine.execute(instance, shell(ECHOING), None, {})


async def test_an_attached_one_off_reads_writes_and_tells_its_end(attaching: Bench) -> None:
    one_off = OneOff(3, shell(ECHOING))
    instance, attachment = await attaching.engine.run_attached(attaching.manifest(), one_off)
    assert (instance.name, instance.one_off, instance.address) == ("run.3", "attached", None)
    assert [item.id for item in await attaching.engine.one_offs(attaching.app_id)] == [instance.id]
    assert await attaching.engine.list(attaching.app_id) == []
    await attachment.write(b"one\n")
    async with asyncio.timeout(PATIENCE):
        assert await attachment.read() == ("stdout", b"one\n")
    await attachment.write(b"two\n")
    await attachment.write_eof()
    assert await output_of(attachment) == b"two\n"
    assert (await attachment.wait()).code == 4
    await attachment.write(b"nobody reads this")
    await attachment.end()
    assert await attaching.engine.one_offs(attaching.app_id) == []


async def test_ending_an_attachment_ends_its_one_off(attaching: Bench) -> None:
    instance, attachment = await attaching.engine.run_attached(
        attaching.manifest(), OneOff(1, shell(SLEEPING))
    )
    async with asyncio.timeout(PATIENCE):
        await attachment.end()
    assert await attaching.engine.inspect(instance.id) is None


async def test_a_signal_reaches_an_attached_one_off(attaching: Bench) -> None:
    _, attachment = await attaching.engine.run_attached(attaching.manifest(), OneOff(1, shell(SLEEPING)))
    await attachment.signal("TERM")
    assert await output_of(attachment) == b""
    assert (await attachment.wait()).code == 143
    await attachment.end()


async def test_one_offs_whose_caller_died_are_swept_and_detached_ones_are_not(attaching: Bench) -> None:
    _, attachment = await attaching.engine.run_attached(attaching.manifest(), OneOff(1, shell(SLEEPING)))
    detached = await attaching.engine.run_detached(attaching.manifest(), OneOff(2, shell(TALKING)))
    await attaching.engine.sweep()
    assert {item.name for item in await attaching.engine.one_offs()} >= {"run.1", "run.2"}
    successor = attaching.make()
    await successor.sweep()
    assert [item.name for item in await successor.one_offs(attaching.app_id)] == ["run.2"]
    assert detached.one_off == "detached"
    async with asyncio.timeout(PATIENCE), aclosing(successor.logs(detached, None, follow=True)) as lines:
        assert (await anext(lines)).text == "line 1"
    await successor.stop(detached, 5)
    assert await successor.one_offs(attaching.app_id) == []
    await attachment.end()


async def test_a_destroyed_apps_one_offs_are_swept(attaching: Bench) -> None:
    _, attachment = await attaching.engine.run_attached(attaching.manifest(), OneOff(1, shell(SLEEPING)))
    await attaching.engine.run_detached(attaching.manifest(), OneOff(2, shell(SLEEPING)))
    await attaching.engine.sweep(attaching.app_id)
    assert await attaching.engine.one_offs(attaching.app_id) == []
    assert await output_of(attachment) == b""
    await attachment.end()


async def test_a_process_inside_an_instance_ends_by_itself_and_leaves_the_instance_alone(
    attaching: Bench,
) -> None:
    instance = await attaching.start(shell(IDLE))
    attachment = await attaching.engine.execute(instance, shell(TWO_STREAMS), None, {})
    assert b"out\n" in await output_of(attachment)
    assert (await attachment.wait()).code == 3
    await attachment.end()
    found = await attaching.engine.inspect(instance.id)
    assert found is not None
    assert found.state == "running"
    assert await attaching.engine.one_offs(attaching.app_id) == []


async def test_ending_a_process_inside_an_instance_ends_it(attaching: Bench) -> None:
    instance = await attaching.start(shell(IDLE))
    attachment = await attaching.engine.execute(instance, shell(SLEEPING), None, {})
    async with asyncio.timeout(PATIENCE):
        await attachment.end()
    assert (await attachment.wait()).code in {129, 137}


async def test_nothing_can_be_executed_in_what_does_not_run(attaching: Bench) -> None:
    instance = await attaching.start(shell(FAILING))
    async with asyncio.timeout(PATIENCE):
        await attaching.engine.wait(instance)
    with pytest.raises(EngineError):
        await attaching.engine.execute(instance, shell(ECHOING), None, {})


async def test_two_who_remove_the_same_one_off_do_not_hinder_each_other(attaching: Bench) -> None:
    for number in range(3):
        one_off = OneOff(number, shell(IDLE))
        instance, attachment = await attaching.engine.run_attached(attaching.manifest(), one_off)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(
                attaching.engine.stop(instance, 1), attachment.end(), attaching.engine.stop(instance, 1)
            )
    assert await attaching.engine.one_offs(attaching.app_id) == []
