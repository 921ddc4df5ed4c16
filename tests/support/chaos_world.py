"""One machine, its disk and its routers, with whole control planes that live and die on it, in simulated time.

Real are the composition root and everything it builds: store, worker, pipeline, deployer, commands. Simulated are what
lies outside of the process: sockets (instances answer through a dictionary), the router behind its client, git's
commands (its objects are real), and SQLite's thread, whose work is done in place.
"""

import asyncio
import json
import random
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, closing, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiosqlite
import pytest
from deployer_world import end_of
from dulwich.errors import NotGitRepository
from dulwich.objects import Blob, Commit, Tree
from dulwich.repo import Repo
from invariants import View
from simulated_loop import SimulatedLoop
from sqlalchemy.ext.asyncio import create_async_engine

from config import Settings
from cygni.app import Platform, build, start_work
from cygni.store import rows
from deployer.manifest import Health
from deployer.memory import Machine, MemoryEngine
from deployer.ports import Address, EngineError, Instance
from deployer.probe import Probe
from gitserver import repository
from gitserver.git import GitError
from router.errors import RouterTimeoutError
from router.table import AppRoute

OF_THE_MACHINE = ("Container.",)
BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
HTTP_PORT = 8080


@dataclass
class Life:
    """One control plane. Dead, nothing that is left of it has an effect."""

    dead: bool = False
    connections: list[aiosqlite.Connection] = field(default_factory=list)
    platform: Platform | None = None
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)


@dataclass
class Faults:
    """What is wrong now."""

    disk_full: bool = False
    read_only: bool = False
    silent: bool = False
    """Routers take no table, and say nothing."""
    deaf: bool = False
    """Routers take a table and say nothing."""
    clock: timedelta = timedelta()


class World:
    """What is left when control planes die."""

    def __init__(
        self, data: Path, loop: SimulatedLoop, patch: pytest.MonkeyPatch, dice: random.Random
    ) -> None:
        self.data = data
        self.loop = loop
        self.dice = dice
        self.machine = Machine()
        self.tables: dict[str, AppRoute] = {}
        self.faults = Faults()
        self.listening: dict[tuple[str, int], Web] = {}
        self.life = Life(dead=True)
        self.secrets: set[str] = set()
        self.gone: set[str] = set()
        _patch(self, patch)

    @property
    def platform(self) -> Platform:
        assert self.life.platform is not None
        return self.life.platform

    async def start(self) -> None:
        """A new control plane on what is left."""
        assert self.life.dead
        self.life = life = Life()
        settings = Settings(data=self.data, engine="memory", drain_timeout=5, disk_reserve=0, releases_kept=3)
        life.platform = await build(settings, life.stack)
        await start_work(life.platform, life.stack)

    async def kill(self) -> None:
        """End the control plane as SIGKILL does: at once, without a word, in the middle of anything."""
        self._die()
        mine = asyncio.current_task()
        names = {task: getattr(task.get_coro(), "__qualname__", "") for task in asyncio.all_tasks() - {mine}}
        await end_of([task for task, name in names.items() if not name.startswith(OF_THE_MACHINE)])
        with suppress(Exception):
            await self.platform.services.store.close()

    async def stop(self) -> None:
        """End the control plane as SIGTERM does, but without grace for what runs."""
        await self.platform.worker.stop(0)
        await self.life.stack.aclose()
        self._die()

    def _die(self) -> None:
        self.life.dead = True
        for connection in self.life.connections:
            if connection._connection is not None:
                connection._connection.rollback()  # closing alone leaves its lock to whoever holds a cursor
                connection._connection.close()
                connection._connection = None

    def heal(self) -> None:
        """Nothing is wrong any more."""
        self.faults = Faults(clock=self.faults.clock)
        self.machine.come_back()

    def view(self) -> View:
        platform = self.platform
        services = platform.services
        return View(
            store=services.store,
            data=self.data,
            instances=self.instances,
            routes=lambda: self.tables,
            has_image=services.releases._images.exists,
            open_jobs=self._open_jobs,
            releases_kept=services.settings.releases_kept,
            secrets=lambda: self.secrets,
            is_sound=self._is_sound,
            gone=lambda: self.gone,
            image_owners=self._image_owners,
            one_offs=lambda: [c.birth.id for c in self.containers() if c.birth.one_off],
        )

    def _is_sound(self, instance: Instance) -> bool:
        container = self.machine._by_id.get(instance.id)
        if container is None:
            return True
        birth = container.birth
        return birth.program.exit_after is None and (not birth.routed or birth.program.bind == "all")

    async def _image_owners(self) -> list[str]:
        found = json.loads((self.data / "memory-images.json").read_text() or "[]") if self._images else []
        return [image["labels"]["cygni.app-id"] for image in found]

    @property
    def _images(self) -> bool:
        return (self.data / "memory-images.json").exists()

    def containers(self) -> Iterator[Any]:
        return iter(list(self.machine._by_id.values()))

    async def instances(self) -> Sequence[Instance]:
        """Seen on the machine itself, whatever its engine says."""
        engine = self.platform.services.engine
        assert isinstance(engine, MemoryEngine)
        return [engine._instance(item) for item in self.containers() if not item.birth.one_off]

    async def _open_jobs(self) -> list[tuple[str, str, str]]:
        with closing(sqlite3.connect(self.data / "cygni.db")) as database:
            query = "SELECT app_id, lane, status FROM jobs WHERE status IN ('queued', 'running')"
            return list(database.execute(query))

    def write_commit(self, app_id: str, files: dict[str, str], number: int) -> str:
        """Put a commit's objects into the app's repository, as a push does."""
        try:
            opened = Repo(str(self.data / "repositories" / f"{app_id}.git"))
        except NotGitRepository:
            raise GitError("the repository is gone") from None
        with opened as repo:
            tree = Tree()
            for name, text in files.items():
                blob = Blob.from_string(text.encode())
                repo.object_store.add_object(blob)
                tree.add(name.encode(), 0o100644, blob.id)
            repo.object_store.add_object(tree)
            commit = Commit()
            commit.tree = tree.id
            commit.author = commit.committer = b"t <t@example.com>"
            commit.author_time = commit.commit_time = number
            commit.author_timezone = commit.commit_timezone = 0
            commit.message = b"change"
            repo.object_store.add_object(commit)
            return commit.id.decode()


class _Mortal:
    """A machine as one control plane has it."""

    def __init__(self, machine: Machine, life: Life) -> None:
        self._machine = machine
        self._life = life

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def check(self) -> None:
        if self._life.dead:
            raise EngineError("this control plane is dead")
        self._machine.check()

    def remove(self, container: Any) -> None:
        if not self._life.dead:
            self._machine.remove(container)

    def close(self) -> None:
        """The machine outlives it."""


class Router:
    """The router behind its client: takes tables, acknowledges them, knows of no request in flight."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._life = world.life
        self._wanted: dict[str, AppRoute | None] = {}
        self._closed = asyncio.Event()
        self.http_port = HTTP_PORT
        self.pid = 0
        self.connected = True

    async def publish(self, route: AppRoute) -> int:
        self._wanted[route.app_id] = route
        return self._deliver()

    async def remove(self, app_id: str) -> int:
        self._wanted[app_id] = None
        return self._deliver()

    def _deliver(self) -> int:
        """What was published while nobody listened is sent later, if somebody is left to send it."""
        if self._life.dead or self._world.faults.silent:
            return 0
        for app_id, route in self._wanted.items():
            if route is None:
                self._world.tables.pop(app_id, None)
            else:
                self._world.tables[app_id] = route
        self._wanted.clear()
        return 0

    async def acknowledged(self, version: int, timeout: float) -> None:
        await self._told(timeout)

    async def _told(self, timeout: float) -> None:
        deadline = self._world.loop.now + timeout
        await asyncio.sleep(0.001)
        while self._world.faults.silent or self._world.faults.deaf:
            if self._world.loop.now > deadline:
                raise RouterTimeoutError(f"the router has not acknowledged within {timeout:g} s")
            await asyncio.sleep(0.5)
        self._deliver()

    async def drained(self, app_id: str, instance_ids: Sequence[str], timeout: float) -> bool:
        try:
            await asyncio.sleep(self._world.dice.choice((0.0, 0.01, 1.0)))
            await self._told(timeout)
        except RouterTimeoutError:
            return False
        return True

    async def access(self) -> AsyncIterator[Any]:
        await self._closed.wait()
        return
        yield

    async def close(self) -> None:
        self._closed.set()


class Web:
    """An instance's server: an entry in the world's dictionary of who listens."""

    def __init__(self, world: World, text: str, status: int, delay: float) -> None:
        self._world = world
        self._place: tuple[str, int] | None = None
        self.text = text
        self.status = status
        self.delay = delay

    async def listen(self, host: str, port: int) -> None:
        await asyncio.sleep(0)
        if (host, port) in self._world.listening:
            raise OSError(98, f"address {host}:{port} in use")
        self._place = (host, port)
        self._world.listening[host, port] = self

    def refuse(self) -> None:
        if self._place is not None:
            del self._world.listening[self._place]
            self._place = None

    cut = refuse

    async def closed(self) -> None:
        await asyncio.sleep(0)


class _Thread:
    """No thread at all."""

    daemon = True

    def start(self) -> None:
        pass


class _Inline:
    """A connection's queue of work: done at once, and heard of a moment later."""

    def __init__(self, world: World, life: Life, connection: aiosqlite.Connection) -> None:
        self._world = world
        self._life = life
        self._connection = connection
        self._read_only = False

    def put_nowait(self, item: tuple[Any, Callable[[], Any]]) -> None:
        future, work = item
        if self._world.loop.is_closed():
            return
        self._world.loop.deliver(future, lambda: self._do(work))

    def _do(self, work: Callable[[], Any]) -> Any:
        if self._life.dead:
            raise sqlite3.OperationalError("this control plane is dead")
        raw, faults = self._connection._connection, self._world.faults
        if raw is not None and getattr(work, "func", None) != raw.close:
            if self._read_only != faults.read_only:
                raw.execute(f"PRAGMA query_only={int(faults.read_only)}")
                self._read_only = faults.read_only
            if faults.disk_full and getattr(work, "func", None) == raw.commit:
                error = sqlite3.OperationalError("database or disk is full")
                error.sqlite_errorname = "SQLITE_FULL"
                error.sqlite_errorcode = sqlite3.SQLITE_FULL
                raise error
        return work()


def _patch(world: World, patch: pytest.MonkeyPatch) -> None:
    """Put the world between the platform and what lies outside."""

    def machine(programs: Any) -> Any:
        world.machine.program = programs
        return _Mortal(world.machine, world.life)

    async def look(address: Address, health: Health, patience: float = 0) -> Probe:
        await asyncio.sleep(0.001)
        web = world.listening.get((address.host, address.port))
        if web is None:
            return Probe(ready=False, accepted=False, text="connection refused")
        if health.path is not None and web.status >= 400:
            return Probe(ready=False, accepted=True, text=f"answered {web.status}")
        return Probe(ready=True, accepted=True, text=f"port {address.port} answers")

    original = aiosqlite.core.Connection.__init__

    def connection(self: Any, *arguments: Any, **named: Any) -> None:
        original(self, *arguments, **named)
        self._tx, self._thread = _Inline(world, world.life, self), _Thread()
        world.life.connections.append(self)

    compiled: dict[Any, Any] = {}

    def engine(*arguments: Any, **named: Any) -> Any:
        """Statements that one control plane has compiled need not be compiled by the next one."""
        made = create_async_engine(*arguments, **named)
        made.sync_engine._compiled_cache = compiled
        return made

    patch.setattr("cygni.store.engine.create_async_engine", engine)
    patch.setattr(aiosqlite.core.Connection, "__init__", connection)
    patch.setattr("cygni.backends.Machine", machine)
    patch.setattr("cygni.app.RouterClient", lambda path: Router(world))
    patch.setattr("deployer.memory.container.Web", lambda *given: Web(world, *given))
    for name in ("boot.probe", "boot.greet", "monitor.probe", "rollout.probe"):
        patch.setattr(f"deployer.{name}", look)
    patch.setattr(rows, "now", lambda: BEGINNING + timedelta(seconds=world.loop.now) + world.faults.clock)
    _patch_git(patch)


def _patch_git(patch: pytest.MonkeyPatch) -> None:
    """Git's commands on its files, without a process each."""

    def opened(path: Path) -> Repo:
        try:
            return Repo(str(path))
        except NotGitRepository:
            raise GitError("the repository is gone") from None

    async def create_bare(path: Path) -> None:
        path.mkdir(parents=True, exist_ok=True)
        Repo.init_bare(str(path)).close()

    async def list_refs(path: Path, prefix: str) -> dict[str, str]:
        await asyncio.sleep(0.001)
        with opened(path) as repo:
            refs = {name.decode(): oid.decode() for name, oid in repo.get_refs().items()}
        return {name: oid for name, oid in refs.items() if name.startswith(prefix)}

    async def write_ref(path: Path, ref: str, new: str, old: str | None) -> None:
        await asyncio.sleep(0.001)
        with opened(path) as repo:
            if repo.refs.read_loose_ref(ref.encode()) not in {None, (old or "").encode()}:
                raise GitError("the ref is elsewhere")
            repo.refs[ref.encode()] = new.encode()

    async def nothing(path: Path, *rest: Any) -> None:
        await asyncio.sleep(0.001)

    patch.setattr(repository, "create_bare", create_bare)
    patch.setattr(repository, "list_refs", list_refs)
    patch.setattr(repository, "write_ref", write_ref)
    patch.setattr(repository, "set_head", nothing)
    patch.setattr(repository, "maintain", nothing)
