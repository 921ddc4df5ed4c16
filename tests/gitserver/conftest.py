"""A real front door with in-memory owners, and real clients to knock at it."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import asyncssh
import pytest
import structlog

from gitserver import pktline
from gitserver.hostkeys import host_keys
from gitserver.ports import GitServerOptions, Limits, Principal
from gitserver.server import GitServer
from gitserver.testing import EchoCommands, MemoryKeys, MemoryPushes

if TYPE_CHECKING:
    from pathlib import Path

ANN = Principal("1", "ann", admin=True)
CLIENT_SECONDS = 60


@pytest.fixture(autouse=True)
def plain_logs() -> None:
    structlog.configure(
        processors=[structlog.processors.format_exc_info, structlog.processors.KeyValueRenderer()],
        cache_logger_on_first_use=False,
    )


@dataclass(frozen=True)
class Result:
    code: int
    out: str
    err: str


@dataclass
class Door:
    """A running server and everything around it."""

    root: Path
    server: GitServer
    keys: MemoryKeys
    pushes: MemoryPushes
    commands: EchoCommands
    key: Path
    template: Path
    procs: list[asyncio.subprocess.Process] = field(default_factory=list)

    def url(self, app: str = "shop", user: str = "cygni") -> str:
        return f"ssh://{user}@127.0.0.1:{self.server.port}/{app}"

    def new_key(
        self, name: str, owner: Principal | None = None, kind: str = "ssh-ed25519", **options: Any
    ) -> Path:
        key = asyncssh.generate_private_key(kind, **options)
        path = self.root / name
        path.write_bytes(key.export_private_key())
        path.chmod(0o600)
        path.with_name(f"{name}.pub").write_bytes(key.export_public_key())
        if owner is not None:
            self.keys.principals[key.get_fingerprint()] = owner
        return path

    def ssh_options(self, key: Path | None = None, level: str = "ERROR") -> list[str]:
        settings = (
            "IdentitiesOnly=yes",
            "StrictHostKeyChecking=no",
            "UserKnownHostsFile=/dev/null",
            f"LogLevel={level}",
        )
        options = ["ssh", "-F", "/dev/null", "-i", str(key or self.key), "-o", "IdentityAgent=none"]
        return options + [part for setting in settings for part in ("-o", setting)]

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Ann",
            "GIT_AUTHOR_EMAIL": "ann@example.org",
            "GIT_COMMITTER_NAME": "Ann",
            "GIT_COMMITTER_EMAIL": "ann@example.org",
            "GIT_SSH_COMMAND": " ".join(self.ssh_options()),
            "LC_ALL": "C",
        } | more

    async def spawn(self, *command: str, cwd: Path | None = None, **env: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=cwd or self.root,
            env=self.environment(**env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self.procs.append(process)
        return process

    async def run(self, *command: str, cwd: Path | None = None, stdin: bytes = b"", **env: str) -> Result:
        process = await self.spawn(*command, cwd=cwd, **env)
        async with asyncio.timeout(CLIENT_SECONDS):
            out, err = await process.communicate(stdin)
        assert process.returncode is not None
        return Result(process.returncode, out.decode(errors="replace"), err.decode(errors="replace"))

    async def git(self, *arguments: str, cwd: Path | None = None, **env: str) -> Result:
        return await self.run("git", *arguments, cwd=cwd, stdin=b"", **env)

    async def good(self, *arguments: str, cwd: Path | None = None, **env: str) -> str:
        """Run git, demand success, return what it printed."""
        result = await self.git(*arguments, cwd=cwd, **env)
        assert result.code == 0, result.err
        return result.out + result.err

    async def ssh(
        self,
        *arguments: str,
        key: Path | None = None,
        options: tuple[str, ...] = (),
        user: str = "cygni",
        stdin: bytes = b"",
        level: str = "ERROR",
    ) -> Result:
        target = ["-p", str(self.server.port), f"{user}@127.0.0.1"]
        return await self.run(*self.ssh_options(key, level), *options, *target, *arguments, stdin=stdin)

    async def work(self, name: str = "work") -> Path:
        """A repository with one commit on `main` and the remote `cygni`."""
        path = self.root / name
        shutil.copytree(self.template, path)
        with (path / ".git" / "config").open("a") as config:
            config.write(
                f'[remote "cygni"]\n\turl = {self.url()}\n\tfetch = +refs/heads/*:refs/remotes/cygni/*\n'
            )
        return path

    async def commit(self, path: Path, text: str, file: str = "file.txt") -> str:
        (path / file).write_text(text)
        await self.good("add", file, cwd=path)
        await self.good("commit", "-q", "-a", "-m", text, cwd=path)
        return (await self.good("rev-parse", "HEAD", cwd=path)).strip()

    async def connect(self, **options: Any) -> asyncssh.SSHClientConnection:
        port = options.pop("port_override", self.server.port)
        settings: dict[str, Any] = {
            "username": "cygni",
            "client_keys": [str(self.key)],
            "known_hosts": None,
            "config": None,
        }
        return await asyncssh.connect("127.0.0.1", port, agent_path=None, **(settings | options))

    def bare(self, app: str = "shop") -> Path:
        return self.pushes.path(app)

    def left_behind(self, app: str = "shop") -> list[Path]:
        """Quarantines and half-written packs."""
        objects = self.bare(app) / "objects"
        return [*objects.glob("tmp_*"), *objects.glob("pack/tmp_*"), *objects.glob("incoming*")]

    def packs(self, app: str = "shop") -> list[Path]:
        return list((self.bare(app) / "objects" / "pack").glob("*.pack"))

    async def refs(self, app: str = "shop") -> dict[str, str]:
        out = await self.good("for-each-ref", "--format=%(refname) %(objectname)", cwd=self.bare(app))
        return dict(line.split(" ") for line in out.splitlines() if line)


Launch = Callable[..., Any]


@pytest.fixture(scope="session")
def kept_host_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("host-keys")
    asyncio.run(host_keys(state))
    return state


@pytest.fixture(scope="session")
def work_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit, to copy."""
    path = tmp_path_factory.mktemp("template") / "work"
    who = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    subprocess.run(["git", "init", "-q", "-b", "main", "--template=", str(path)], check=True)
    (path / "file.txt").write_text("first")
    subprocess.run(["git", "add", "-A"], cwd=path, check=True)
    subprocess.run(["git", *who, "commit", "-q", "-m", "first"], cwd=path, check=True)
    return path


@pytest.fixture
async def launch(tmp_path: Path, kept_host_keys: Path, work_template: Path) -> AsyncIterator[Launch]:
    """Starts servers with the limits a test wants."""
    async with AsyncExitStack() as stack:

        async def start(limits: Limits | None = None, **options: Any) -> Door:
            state = tmp_path / "state"
            shutil.copytree(kept_host_keys, state)
            keys, commands = MemoryKeys(), EchoCommands()
            pushes = MemoryPushes(tmp_path / "repositories")
            settings = GitServerOptions("127.0.0.1", 0, state, limits=limits or Limits(), **options)
            server = GitServer(settings, keys, pushes, commands)
            door = Door(tmp_path, server, keys, pushes, commands, tmp_path / "key", work_template)
            door.new_key("key", ANN)
            stack.push_async_callback(_stop, door)
            await server.start()
            return door

        yield start


async def _stop(door: Door) -> None:
    for process in door.procs:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        process._transport.close()  # type: ignore[attr-defined]
    await door.server.close(grace=5)


@pytest.fixture
async def door(launch: Launch) -> Door:
    """A server with the usual limits."""
    started: Door = await launch()
    return started


@dataclass
class RawClient:
    """Speaks receive-pack by hand."""

    process: asyncssh.SSHClientProcess[bytes]

    async def advertisement(self) -> list[bytes]:
        return await self.until_flush()

    async def frame(self) -> bytes | None:
        size = pktline.length(await self.process.stdout.readexactly(4))
        return await self.process.stdout.readexactly(size - 4) if size else None

    async def until_flush(self) -> list[bytes]:
        frames = []
        while (data := await self.frame()) is not None:
            frames.append(data)
        return frames

    def send(self, *parts: bytes) -> None:
        self.process.stdin.write(b"".join(parts))

    async def rest(self) -> bytes:
        async with asyncio.timeout(30):
            return await self.process.stdout.read()


@pytest.fixture
async def raw(door: Door) -> AsyncIterator[Callable[[str], Any]]:
    """Opens receive-pack for an app by hand."""
    async with AsyncExitStack() as stack:

        async def start(app: str = "shop") -> RawClient:
            connection = await stack.enter_async_context(await door.connect())
            process = await connection.create_process(f"git-receive-pack '{app}'", encoding=None)
            return RawClient(process)

        yield start
