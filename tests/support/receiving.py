"""The receiving half of the application for tests: everything from SSH to the build's job, and no engine.

Real are the front door, the store, the worker, the handlers, the push handler, the housekeeping; the pipeline is one
that a test steers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import AsyncMock

from tests_support import example

from config import Settings
from cygni.builds import Builds
from cygni.collecting import LogCollection
from cygni.commands import Context, dispatch, registry
from cygni.commands.parser import split
from cygni.disk import Disk
from cygni.domain.models import App, Build, BuildStatus, Lane, Release, User
from cygni.handlers import Handlers
from cygni.housekeeping import Housekeeping
from cygni.jobs import Worker
from cygni.keys import Keys
from cygni.lanes import DeployLane
from cygni.logs import BuildLogs, LogStore
from cygni.manifests import Manifests
from cygni.oneoffs import OneOffs
from cygni.operations import Operations
from cygni.permissions import Permissions
from cygni.pushes import Pushes
from cygni.reports import Reports
from cygni.repositories import Repositories
from cygni.services import Services
from cygni.slots import PushSlots
from cygni.sources import Sources
from cygni.store import Store
from deployer.memory import Machine, MemoryEngine, Programs
from deployer.memory.machine import healthy
from gitserver.hostkeys import host_keys
from gitserver.keys import parse_public_key
from gitserver.ports import GitServerOptions, Limits
from gitserver.server import GitServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from cygni.output import Narrator
    from gitserver.ports import Session

CLIENT_SECONDS = 60


@dataclass
class SteeredPipeline:
    """Takes a commit live without an engine, when the test lets it."""

    sources: Sources
    store: Store
    may_end: asyncio.Event = field(default_factory=asyncio.Event)
    began: asyncio.Event = field(default_factory=asyncio.Event)
    fails: bool = False
    built: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)

    async def push_to_live(self, app: App, build: Build, say: Narrator, *, fresh: bool = False) -> Release:
        del fresh
        async with self.sources.open(app, build) as source:
            await say.step(f"Building {source.commit[:7]}")
            self.built.append((source.commit, tuple(source.tree.files("**"))))
            self.began.set()
            await self.may_end.wait()
        if self.fails:
            raise RuntimeError("the build fails, as told")
        release = await self.store.releases.create(
            app.id,
            image="sha256:0",
            commit=build.commit,
            processes=(),
            release_command=None,
            author=build.author,
            reason="Deploy",
            build_id=build.id,
        )
        await self.store.builds.finish(build.id, BuildStatus.SUCCEEDED, image="sha256:0")
        await self.store.releases.set_live(release.id)
        await say.detail(f"Released v{release.version}")
        return release


@dataclass
class Commands:
    services: Services

    async def run(self, session: Session) -> int:
        who = session.principal
        user = User(who.id, who.name, who.admin)
        return await dispatch(registry, split(session.command), Context(user, session, self.services))


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@dataclass
class Reception:
    """A running front door with the application behind it, and real clients."""

    root: Path
    store: Store
    services: Services
    pipeline: SteeredPipeline
    housekeeping: Housekeeping
    slots: PushSlots
    server: GitServer
    machine: Machine
    children: list[asyncio.subprocess.Process] = field(default_factory=list)

    def url(self, app: str = "shop") -> str:
        return f"ssh://cygni@127.0.0.1:{self.server.port}/{app}"

    def ssh(self) -> list[str]:
        options = (
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            "LogLevel=ERROR",
        )
        return [
            "ssh",
            "-F",
            "/dev/null",
            "-i",
            str(self.root / "key"),
            *(w for o in options for w in ("-o", o)),
        ]

    async def spawn(
        self, *command: str, cwd: Path | None = None, stdin: int = asyncio.subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        identity = {
            f"GIT_{who}_{what}": "t@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd or self.root,
            env={
                "PATH": os.environ["PATH"],
                "HOME": str(self.root),
                "LC_ALL": "C",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_SSH_COMMAND": " ".join(self.ssh()),
                **identity,
            },
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.children.append(process)
        return process

    async def run(self, *command: str, cwd: Path | None = None) -> Result:
        process = await self.spawn(*command, cwd=cwd)
        out, err = await asyncio.wait_for(process.communicate(), CLIENT_SECONDS)
        assert process.returncode is not None
        return Result(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    async def git(self, *arguments: str, cwd: Path | None = None) -> Result:
        return await self.run("git", *arguments, cwd=cwd)

    async def good(self, *arguments: str, cwd: Path | None = None) -> str:
        result = await self.git(*arguments, cwd=cwd)
        assert result.code == 0, result.err
        return result.out + result.err

    def to_server(self, *words: str) -> list[str]:
        return [*self.ssh(), "-p", str(self.server.port), "cygni@127.0.0.1", *words]

    async def command(self, *words: str) -> Result:
        return await self.run(*self.to_server(*words))

    async def work(
        self, name: str = "work", files: Mapping[str, str] | None = None, app: str = "shop"
    ) -> Path:
        """A repository with one commit on `main` and the remote `cygni`."""
        path = self.root / name
        await self.good("init", "-q", "-b", "main", str(path))
        await self.good("remote", "add", "cygni", self.url(app), cwd=path)
        await self.commit(path, files or example("static"))
        return path

    async def commit(self, path: Path, files: Mapping[str, str]) -> str:
        for name, text in files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
        await self.good("add", "-A", cwd=path)
        await self.good("commit", "-q", "--allow-empty", "-m", "change", cwd=path)
        return await self.head(path)

    async def head(self, path: Path) -> str:
        return (await self.good("rev-parse", "HEAD", cwd=path)).strip()

    async def app(self, name: str = "shop") -> App:
        found = await self.store.apps.by_name(name)
        assert found is not None
        return found

    async def builds(self, name: str = "shop") -> list[Build]:
        return await self.store.builds.list((await self.app(name)).id, 100)

    async def bare(self, name: str = "shop") -> Path:
        return self.services.repositories.path((await self.app(name)).id)

    async def refs(self, name: str = "shop") -> dict[str, str]:
        out = await self.good("for-each-ref", "--format=%(refname) %(objectname)", cwd=await self.bare(name))
        return dict(line.split(" ") for line in out.splitlines() if line)

    async def left_behind(self, name: str = "shop") -> list[Path]:
        """Objects and quarantines."""
        objects = (await self.bare(name)) / "objects"
        return [path for path in objects.rglob("*") if path.is_file() or path.name.startswith("tmp_")]

    async def until(self, condition: Any, seconds: float = 30) -> Any:
        """Wait for a coroutine function to return something true."""
        async with asyncio.timeout(seconds):
            while not (answer := await condition()):
                await asyncio.sleep(0.02)
        return answer


async def line_with(stream: asyncio.StreamReader | None, text: bytes) -> bytes:
    """Read lines until one has the text."""
    assert stream is not None
    async with asyncio.timeout(30):
        while text not in (line := await stream.readline()):
            assert line, f"ended without {text!r}"
    return line


async def prepare(kept: Path) -> None:
    """Make what takes long and may be used by many: host keys and a migrated database."""
    await host_keys(kept / "ssh")
    (kept / "data").mkdir()
    store = await Store.open(
        f"sqlite+aiosqlite:///{kept / 'data' / 'cygni.db'}", kept / "data" / "secret.key"
    )
    await store.close()


@asynccontextmanager
async def reception(
    root: Path,
    kept: Path,
    limits: Limits | None = None,
    programs: Programs | None = None,
    **settings: Any,
) -> AsyncIterator[Reception]:
    """Start everything; the user `tester`, an admin, has the key `root/key`. `kept` is from `prepare`."""
    shutil.copytree(kept, root, dirs_exist_ok=True)
    chosen = Settings(data=root / "data", **settings)
    async with AsyncExitStack() as stack:
        store = await Store.open(
            f"sqlite+aiosqlite:///{chosen.data / 'cygni.db'}", chosen.data / "secret.key"
        )
        stack.push_async_callback(store.close)
        logs = await stack.enter_async_context(LogStore(chosen.data / "logs"))
        build_logs = BuildLogs(chosen.data / "builds")
        stack.push_async_callback(build_logs.close)
        repositories = Repositories(chosen.data / "repositories")
        sources = Sources(chosen, store, repositories)
        pipeline = SteeredPipeline(sources, store)
        pipeline.may_end.set()
        worker = Worker(store, {}, owner="me", concurrency={Lane.BUILD: 4, Lane.DEPLOY: 4})
        nothing, steered = AsyncMock(), cast("Any", pipeline)  # no engine: no images to tidy, nothing to run
        handlers = Handlers(store, build_logs, steered, nothing, DeployLane(store, worker), nothing, nothing)
        worker.register(handlers.kinds())
        operations, builds = Operations(store, worker, build_logs), Builds(store, worker, build_logs)
        permissions, disk = Permissions(store), Disk(chosen.data, chosen.disk_reserve)
        machine = Machine(programs or healthy)
        stack.callback(machine.close)
        engine = MemoryEngine(machine, "server")
        collection = LogCollection(logs)
        collection.follow(engine)
        manifests = Manifests(chosen, store, lambda: None)
        one_offs = OneOffs(store, manifests, engine, collection, Reports(logs))
        services = Services(
            settings=chosen,
            store=store,
            worker=worker,
            logs=logs,
            build_logs=build_logs,
            repositories=repositories,
            operations=operations,
            builds=builds,
            releases=nothing,
            engine=engine,
            permissions=permissions,
            disk=disk,
            one_offs=one_offs,
            certificates=nothing,
        )
        slots = PushSlots(remind_every=0.5)
        housekeeping = Housekeeping(store, repositories, slots, nothing, logs, build_logs)
        pushes = Pushes(disk, store, permissions, worker, builds, repositories, sources, slots, housekeeping)
        options = GitServerOptions("127.0.0.1", 0, root / "ssh", limits=limits or Limits())
        server = GitServer(options, Keys(store), pushes, Commands(services))
        await _add_key(root, services)
        for task in (worker.run(), housekeeping.run(), collection.run(), one_offs.run()):
            stack.push_async_callback(_end, asyncio.create_task(task))
        stack.push_async_callback(worker.stop, 0)
        made = Reception(root, store, services, pipeline, housekeeping, slots, server, machine)
        stack.push_async_callback(_end_clients, made, server)
        await server.start()
        yield made


async def _add_key(root: Path, services: Services) -> None:
    key = await asyncio.create_subprocess_exec(
        "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / "key")
    )
    await key.wait()
    user = await services.store.users.ensure("tester", admin=True)
    public = (root / "key.pub").read_text()
    parsed = parse_public_key(public)
    await services.store.keys.add(user.id, "key", public, parsed.fingerprint)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _end_clients(made: Reception, server: GitServer) -> None:
    for process in made.children:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        process._transport.close()  # type: ignore[attr-defined]
    await server.close(grace=2)
