"""A real server in a process of its own, real git and OpenSSH clients, real containers."""

import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_network
from pathlib import Path
from typing import Self, TypeVar

import docker

CYGNI = Path(sys.executable).parent / "cygni"
EXAMPLES = Path(__file__).parents[2] / "examples"
START_LIMIT = 60
PUSH_LIMIT = 300

T = TypeVar("T")
Completed = subprocess.CompletedProcess[str]


def eventually(what: Callable[[], T], limit: float = 30, every: float = 0.05) -> T:
    """Poll until `what` returns something true; fail with its last answer."""
    deadline = time.monotonic() + limit
    while not (answer := what()):
        assert time.monotonic() < deadline, f"not within {limit} s: {answer!r}"
        time.sleep(every)
    return answer


class Repository:
    """A work tree of a user's."""

    def __init__(self, path: Path, files: Mapping[str, str]) -> None:
        self.path = path
        path.mkdir(parents=True)
        self.git("init", "-q", "-b", "main")
        self.commit(files)

    @classmethod
    def at(cls, path: Path) -> Self:
        """A work tree that exists already."""
        made = cls.__new__(cls)
        made.path = path
        return made

    def git(self, *arguments: str, env: Mapping[str, str] | None = None, check: bool = True) -> Completed:
        base = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        identity = {
            f"GIT_{who}_{what}": "t@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        }
        return subprocess.run(
            ["git", "-C", str(self.path), *arguments], env=base | identity | dict(env or {}),
            capture_output=True, text=True, check=check, timeout=PUSH_LIMIT,
        )  # fmt: skip

    def commit(self, files: Mapping[str, str], message: str = "change") -> str:
        for name, text in files.items():
            target = self.path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.head

    @property
    def head(self) -> str:
        return self.git("rev-parse", "HEAD").stdout.strip()


@dataclass
class Server:
    """A `cygni serve` process and the clients that talk to it."""

    data: Path
    key: Path
    settings: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    ports: dict[str, int] = field(default_factory=dict)
    command: tuple[str, ...] = ()
    """What is run instead of `cygni serve`."""

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "CYGNI_DATA": str(self.data),
            "CYGNI_SSH_PORT": "0",
            "CYGNI_HTTP_PORT": "0",
            "CYGNI_ROUTER_WORKERS": "2",
        }
        kept = {name: str(port) for name, port in self._kept_ports().items()}
        return {**os.environ, **own, **kept, **self.settings}

    def _kept_ports(self) -> dict[str, int]:
        """A server that starts again listens where it did."""
        names = {"CYGNI_SSH_PORT": "ssh_port", "CYGNI_HTTP_PORT": "http_port"}
        return {variable: self.ports[name] for variable, name in names.items() if name in self.ports}

    def start(self) -> None:
        with (self.data.parent / "server.log").open("ab") as output:
            self.process = subprocess.Popen(
                self.command or [CYGNI, "serve"], env=self.environment, stdout=output, stderr=output
            )
        self.ports = eventually(self._serving, START_LIMIT)

    def _serving(self) -> dict[str, int] | None:
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-4000:]
        with suppress(FileNotFoundError):
            ports: dict[str, int] = json.loads((self.data / "serving.json").read_text())
            return ports if ports["pid"] == self.process.pid else None
        return None

    def log(self) -> str:
        return (self.data.parent / "server.log").read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(10)
                raise AssertionError(f"the server did not stop:\n{self.log()[-3000:]}") from None

    def cygni(self, *words: str, input: str = "", check: bool = True) -> Completed:
        done = subprocess.run(
            [CYGNI, *words],
            env=self.environment,
            input=input,
            capture_output=True,
            text=True,
            timeout=PUSH_LIMIT,
            check=False,
        )
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def ssh_options(self, key: Path | None = None) -> list[str]:
        known = self.data.parent / "known_hosts"
        return [
            "-F", "none", "-i", str(key or self.key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes",
            "-o", f"UserKnownHostsFile={known}", "-o", "StrictHostKeyChecking=accept-new", "-o", "LogLevel=ERROR",
        ]  # fmt: skip

    def ssh(self, *words: str, key: Path | None = None, input: str = "", check: bool = True) -> Completed:
        done = subprocess.run(
            ["ssh", *self.ssh_options(key), "-p", str(self.ports["ssh_port"]), "cygni@127.0.0.1", *words],
            input=input, capture_output=True, text=True, timeout=PUSH_LIMIT, check=False,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
        return done

    def push_environment(self, key: Path | None = None) -> dict[str, str]:
        return {"GIT_SSH_COMMAND": " ".join(["ssh", *self.ssh_options(key)])}

    def url(self, app: str) -> str:
        return f"ssh://cygni@127.0.0.1:{self.ports['ssh_port']}/{app}"

    def push(
        self, repository: Repository, app: str, *arguments: str, key: Path | None = None, check: bool = True
    ) -> Completed:
        words = ["push", *(a for a in arguments if a.startswith("-")), self.url(app)]
        words += [a for a in arguments if not a.startswith("-")] or ["main"]
        done = repository.git(*words, env=self.push_environment(key), check=False)
        assert not check or done.returncode == 0, f"{done.stdout}{done.stderr}\n{self.log()[-3000:]}"
        return done

    def get(self, app: str, path: str = "/", timeout: float = 10) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http_port"], timeout=timeout)
        try:
            connection.request("GET", path, headers={"Host": f"{app}.localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def containers(
        self, app: str | None = None, *, everything: bool = False
    ) -> list[docker.models.containers.Container]:
        labels = [f"cygni.server={self.identity}", *([f"cygni.app={app}"] if app else [])]
        with engine() as client:
            return client.containers.list(all=everything, filters={"label": labels}, ignore_removed=True)

    def images(self, app: str) -> list[str]:
        label = [f"cygni.server={self.identity}", f"cygni.app={app}"]
        with engine() as client:
            return [str(image.id) for image in client.images.list(filters={"label": label})]

    @property
    def identity(self) -> str:
        import sqlite3

        with closing(sqlite3.connect(self.data / "cygni.db")) as database:
            return str(database.execute("SELECT identity FROM server").fetchone()[0])

    def clean_engine(self) -> None:
        """Remove what this server left on the engine."""
        if self.settings.get("CYGNI_ENGINE") in {"memory", "ecs"}:
            return
        label = {"label": f"cygni.server={self.identity}"}
        with engine() as client:
            for container in client.containers.list(all=True, filters=label):
                container.remove(force=True)
            for network in client.networks.list(filters=label):
                network.remove()
            for image in client.images.list(filters=label):
                with suppress(docker.errors.APIError):
                    client.images.remove(image.id, force=True)


@contextmanager
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    try:
        yield client
    finally:
        client.close()


class Push(threading.Thread):
    """A push in the background, with its output as it comes."""

    def __init__(self, server: Server, work: Repository, name: str, *options: str) -> None:
        super().__init__()
        self._process = subprocess.Popen(
            ["git", "-C", str(work.path), "push", "--progress", *options, server.url(name), "main"],
            env={**os.environ, **server.push_environment()}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip
        self.output = ""
        self.start()

    def run(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.output += line
        self._process.stdout.close()

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self._process.pid, signal.SIGINT)

    @property
    def code(self) -> int:
        self.join(60)
        return self._process.wait(60)


def command_lines(marker: str) -> list[str]:
    """Command lines of this machine's processes that hold the marker, also inside of builds and containers."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if marker in line:
                found.append(line)
    return found


def free_subnet() -> str:
    """A subnet that no network of the engine or the machine has.

    A server makes its network with its first instance, so another run may choose meanwhile: chosen at random
    out of 60,000, two hardly ever meet. The default of a real server is left alone.
    """
    with engine() as client:
        pools = [pool for net in client.networks.list() for pool in (net.attrs["IPAM"]["Config"] or ())]
    routes = subprocess.run(["ip", "-4", "route"], capture_output=True, text=True, check=True).stdout
    words = [pool["Subnet"] for pool in pools if "Subnet" in pool] + re.findall(
        r"^\d\S*", routes, re.MULTILINE
    )
    taken = [ip_network(word, strict=False) for word in ["10.213.0.0/16", *words]]
    while True:
        subnet = ip_network(f"10.{random.randrange(16, 256)}.{random.randrange(256)}.0/24")
        if not any(subnet.overlaps(other) for other in taken if isinstance(other, IPv4Network)):
            return str(subnet)


class Load:
    """Requests at a steady rate from threads of their own; every answer that is not a 200 is kept."""

    def __init__(self, server: Server, app: str, rate: float = 50) -> None:
        self._server, self._app, self._rate = server, app, rate
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(4)]
        self.answers = 0
        self.failures: list[str] = []
        self.bodies: set[str] = set()

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)

    def _run(self, number: int) -> None:
        pause = len(self._threads) / self._rate
        while not self._stop.wait(pause):
            try:
                status, body = self._server.get(self._app, timeout=30)
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(f"{time.strftime('%X')} {error!r}")
                continue
            self.answers += 1
            self.bodies.add(body)
            if status != 200:
                self.failures.append(f"{time.strftime('%X')} {status} {body[:200]}")


def make_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@contextmanager
def running_server(root: Path, command: tuple[str, ...] = (), **settings: str) -> Iterator[Server]:
    data = root / "data"
    data.mkdir()
    made = Server(
        data,
        make_key(root / "key"),
        {f"CYGNI_{name.upper()}": value for name, value in settings.items()},
        command=command,
    )
    made.cygni("keys:add", "tester", "--admin", input=made.key.with_suffix(".pub").read_text())
    try:
        made.start()
        yield made
    finally:
        made.stop()
        made.clean_engine()


def example(name: str) -> dict[str, str]:
    """The files of an example app."""
    root = EXAMPLES / name
    return {str(p.relative_to(root)): p.read_text() for p in sorted(root.rglob("*")) if p.is_file()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def disk_free(path: Path) -> int:
    return shutil.disk_usage(path).free
