"""A machine in memory with control planes that can be killed between any two of their steps."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from typing import Any, TypeVar

from deployer.backoff import Backoff
from deployer.boot import Pace
from deployer.failures import RolloutFailedError
from deployer.launch import Launcher
from deployer.manifest import Health, Manifest, Process
from deployer.memory import Machine, MemoryEngine, Program
from deployer.monitor import Vigilance
from deployer.ports import Address, Engine, Event, Instance, LogLine, RoutesError, Target
from deployer.probe import greet
from deployer.reconcile import Reconciler
from deployer.retirement import Retirement
from deployer.rollout import Rollout
from deployer.routetable import RouteTable

T = TypeVar("T")

APP = "app-id"
PATIENCE = 10.0
PACE = Pace(fast=0.005, fast_for=0.05, slow=0.01, diagnose_every=0.02)
VIGILANCE = Vigilance(interval=0.05, failures=2, retry=0.01, first_look=0.5)
OF_THE_MACHINE = ("Container.", "Web.", "Plane.", "BaseSelectorEventLoop._accept_connection")
"""Tasks that belong to the machine, so that no death of a control plane ends them."""


async def eventually(what: Callable[[], object], limit: float = PATIENCE) -> None:
    """Poll until `what` returns something true."""
    async with asyncio.timeout(limit):
        while not what():
            await asyncio.sleep(0.005)


class Life:
    """Counts the steps of one control plane; dies at one of them: from then on nothing it does has an effect."""

    def __init__(self, steps: int | None = None) -> None:
        self.left = steps
        self.taken = 0
        self.died = asyncio.Event()
        self.log: list[str] = []

    async def step(self, name: str) -> None:
        if self.left is not None and self.taken >= self.left:
            self.died.set()
        if self.died.is_set():
            await asyncio.Event().wait()
        self.taken += 1
        self.log.append(name)

    async def do(self, name: str, work: Callable[[], Awaitable[T]]) -> T:
        """Take a step, act, take another: death comes before or after the effect."""
        await self.step(name)
        done = await work()
        await self.step(f"{name} done")
        return done


class MortalEngine:
    """An engine as one control plane has it."""

    def __init__(self, engine: Engine, life: Life) -> None:
        self._engine = engine
        self._life = life

    async def start(
        self, manifest: Manifest, process: Process, number: int, *, generation: int = 0
    ) -> Instance:
        return await self._life.do(
            f"start {process.type}.{number}",
            lambda: self._engine.start(manifest, process, number, generation=generation),
        )

    async def list(self, app_id: str | None = None) -> Sequence[Instance]:
        return await self._life.do("list", lambda: self._engine.list(app_id))

    async def inspect(self, instance_id: str) -> Instance | None:
        return await self._life.do("inspect", lambda: self._engine.inspect(instance_id))

    async def stop(self, instance: Instance, timeout: float) -> None:
        await self._life.do(f"stop {instance.name}", lambda: self._engine.stop(instance, timeout))

    async def restart(self, instance: Instance, timeout: float = 30.0) -> Instance:
        return await self._life.do(
            f"restart {instance.name}", lambda: self._engine.restart(instance, timeout)
        )

    async def wait(self, instance: Instance) -> Instance | None:
        return await self._engine.wait(instance)

    async def listening(self, instance: Instance) -> Sequence[Any]:
        return await self._engine.listening(instance)

    def reclaim(self, app_id: str) -> None:
        if not self._life.died.is_set():
            self._engine.reclaim(app_id)

    async def sweep(self, app_id: str | None = None) -> None:
        await self._life.do("sweep", lambda: self._engine.sweep(app_id))

    async def run(self, manifest: Manifest, command: tuple[str, ...], output: Any, timeout: float) -> int:
        return await self._life.do("run", lambda: self._engine.run(manifest, command, output, timeout))

    def logs(
        self, instance: Instance, since: Any, *, follow: bool, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        return self._engine.logs(instance, since, follow=follow, tail=tail)

    def events(self) -> AsyncGenerator[Event, None]:
        return self._engine.events()

    async def check(self) -> None:
        await self._engine.check()

    async def close(self) -> None:
        await self._engine.close()


class Routers:
    """The routers' tables, which outlive control planes. `silent`: they do not acknowledge."""

    def __init__(self) -> None:
        self.tables: dict[str, tuple[Target, ...]] = {}
        self.silent = False
        self.swaps = 0
        self.drains: list[str] = []

    async def swap(self, app_id: str, targets: Sequence[Target]) -> None:
        await asyncio.sleep(0)
        if self.silent:
            raise RoutesError("no router acknowledged in time")
        self.swaps += 1
        self.tables[app_id] = tuple(targets)

    async def drained(self, app_id: str, instance_ids: Sequence[str], timeout: float) -> bool:
        await asyncio.sleep(0)
        assert not {target.instance_id for target in self.tables[app_id]} & set(instance_ids)
        self.drains += instance_ids
        return True


class MortalRoutes:
    """The routers as one control plane has them."""

    def __init__(self, routers: Routers, life: Life) -> None:
        self._routers = routers
        self._life = life

    async def swap(self, app_id: str, targets: Sequence[Target]) -> None:
        await self._life.do("swap", lambda: self._routers.swap(app_id, targets))

    async def drained(self, app_id: str, instance_ids: Sequence[str], timeout: float) -> bool:
        return await self._life.do("drained", lambda: self._routers.drained(app_id, instance_ids, timeout))


@dataclass
class Desired:
    """The database: what is committed stays."""

    manifests: dict[str, Manifest] = field(default_factory=dict)
    busy_apps: set[str] = field(default_factory=set)

    async def apps(self) -> list[str]:
        return list(self.manifests)

    async def live(self, app_id: str) -> Manifest | None:
        return self.manifests.get(app_id)

    async def busy(self, app_id: str) -> bool:
        return app_id in self.busy_apps


class Control:
    """One control plane: everything in it ends with its life."""

    def __init__(self, world: "World", life: Life) -> None:
        self.world = world
        self.life = life
        self.reports: list[str] = []
        self.told: list[str] = []
        self.engine = MortalEngine(world.engine(life), life)
        self.table = RouteTable(self.engine, MortalRoutes(world.routers, life))
        launcher = Launcher(self.engine, self.table, observation=0.05, pace=PACE)
        self.rollout = Rollout(self.engine, self.table, launcher)
        clock = asyncio.get_running_loop().time
        self.reconciler = Reconciler(
            self.engine, self.table, world.desired, self._report, pace=PACE, vigilance=VIGILANCE, poll=0.2,
            backoff=Backoff(clock, base=world.backoff, cap=1, stable=60),
        )  # fmt: skip

    async def _report(self, app_id: str, text: str) -> None:
        self.reports.append(text)

    async def announce(self, line: str) -> None:
        self.told.append(line)

    def commit(self, manifest: Manifest) -> Callable[[], Awaitable[None]]:
        async def write() -> None:
            self.world.desired.manifests[manifest.app_id] = manifest

        return lambda: self.life.do("commit", write)

    async def deploy(self, manifest: Manifest) -> Retirement:
        """A roll-out as the deploy lane does it."""
        self.world.desired.busy_apps.add(manifest.app_id)
        try:
            return await self.rollout.run(manifest, self.announce, self.commit(manifest))
        finally:
            self.free(manifest.app_id)

    def free(self, app_id: str) -> None:
        if not self.life.died.is_set():
            self.world.desired.busy_apps.discard(app_id)
            self.reconciler.mark(app_id)


class World:
    """What is left when control planes die: the machine, the routers, the database."""

    def __init__(self, network: str) -> None:
        self.programs: dict[str, Program] = {}
        self.machine = Machine(
            lambda image, command: self.programs.get(f"{image} {command[-1]}", self.programs.get(image))
        )
        self.routers = Routers()
        self.desired = Desired()
        self.network = IPv4Network(network)
        self.backoff = 0.01

    def engine(self, life: Life) -> Engine:
        """What one control plane has of the machine."""
        del life
        return MemoryEngine(self.machine, "server", self.network)

    def manifest(
        self, release: int, program: Program | None = None, /, *, web: int = 1, worker: int = 0, **values: Any
    ) -> Manifest:
        """A release of an image of its own, which runs `program`."""
        self.programs.setdefault(f"image-{release}", program or Program())
        processes = tuple(
            Process(name, (name,), quantity, stop_timeout=1)
            for name, quantity in (("web", web), ("worker", worker))
        )
        made = Manifest(
            app_id=APP, app="shop", release=release, image=f"image-{release}", processes=processes, env={},
            health=Health(boot_timeout=1.0, probe_timeout=0.5), drain_timeout=1, port=5600,
        )  # fmt: skip
        return replace(made, **values)

    def control(self, steps: int | None = None) -> Control:
        """A control plane that dies after so many steps."""
        self.desired.busy_apps.clear()  # a starting server gives every job that was under way a final state
        return Control(self, Life(steps))

    async def live(self, manifest: Manifest) -> Control:
        """A control plane and a first release that serves."""
        made = self.control()
        await (await made.deploy(manifest)).finish()
        return made

    @asynccontextmanager
    async def reconciling(self, steps: int | None = None) -> AsyncIterator[Control]:
        """A control plane whose reconciler runs."""
        made = self.control(steps)
        task = asyncio.create_task(made.reconciler.run())
        try:
            yield made
        finally:
            made.life.died.set()
            task.cancel()
            await end_of([task])

    @property
    def running(self) -> list[str]:
        """`v1 web.1` for everything that runs."""
        found = self.machine.of("server")
        return sorted(
            f"v{item.birth.manifest.release} {item.birth.process}.{item.birth.number}"
            for item in found
            if item.state == "running"
        )

    @property
    def everything(self) -> list[str]:
        """The same for everything in any state."""
        return sorted(
            f"v{item.birth.manifest.release} {item.birth.process}.{item.birth.number}"
            for item in self.machine.of("server")
        )

    @property
    def routed(self) -> set[str]:
        """Ids of the instances that the routers know."""
        return {target.instance_id for target in self.routers.tables.get(APP, ())}

    def ids(self, name: str = "") -> list[str]:
        """Ids of instances, by `web.1`."""
        return [
            item.birth.id
            for item in self.machine.of("server")
            if name in {"", f"{item.birth.process}.{item.birth.number}"}
        ]

    def converged(self) -> bool:
        """Whether exactly what is desired runs, and the routers know exactly that."""
        manifest = self.desired.manifests[APP]
        wanted = sorted(
            f"v{manifest.release} {process.type}.{number}"
            for process in manifest.processes
            for number in range(1, process.quantity + 1)
        )
        web = {item.birth.id for item in self.machine.of("server") if item.birth.process == "web"}
        return self.everything == self.running == wanted and self.routed == web


async def end_of(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until cancelled tasks are over, however often they must be told."""
    waiting = set(tasks)
    while waiting:
        for task in waiting:
            task.cancel()
        _, waiting = await asyncio.wait(waiting, timeout=0.05)


async def kill(before: set[asyncio.Task[Any]]) -> None:
    """End everything that was begun since, as a SIGKILL does; what is of the machine goes on."""
    mine = asyncio.current_task()
    begun = asyncio.all_tasks() - before - {mine}
    names = {task: getattr(task.get_coro(), "__qualname__", "") for task in begun}
    await end_of([task for task, name in names.items() if not name.startswith(OF_THE_MACHINE)])


class Visitor:
    """Asks one of the routers' targets again and again; an app that is live must always answer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.answers = 0
        self.failures: list[str] = []

    async def run(self) -> None:
        while True:
            await self._visit()
            await asyncio.sleep(0.003)

    async def _visit(self) -> None:
        targets = self._world.routers.tables[APP]
        if not targets:
            self.failures.append("no targets")
            return
        target = targets[self.answers % len(targets)]
        seen = await greet(_address(target), Health(probe_timeout=2), 2)
        if seen.ready:
            self.answers += 1
        elif target in self._world.routers.tables[APP]:
            # Taken away while it was asked: a router drains it, so it answers; only then it is stopped.
            self.failures.append(f"{target.name}: {seen.text}")

    @asynccontextmanager
    async def visiting(self) -> AsyncIterator["Visitor"]:
        task = asyncio.create_task(self.run())
        try:
            yield self
        finally:
            await end_of([task])


def _address(target: Target) -> Address:
    return Address(target.host, target.port)


async def failure_of(work: Awaitable[Any]) -> RolloutFailedError:
    """The failure that this roll-out must end with."""
    try:
        await work
    except RolloutFailedError as error:
        return error
    raise AssertionError("it did not fail")
