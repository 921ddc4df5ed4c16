"""Measures pushes on a real engine: `script/bench push [--rounds N] [--only NAME]`.

Prints both sides of every comparison and their ratio, as medians of one run. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import http.client
import io
import itertools
import json
import os
import statistics
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

import docker  # noqa: E402
from tests_support import Load, Repository, Server, engine, eventually, example, running_server  # noqa: E402

from deployer.docker.containers import host_options  # noqa: E402
from deployer.manifest import Resources  # noqa: E402

APP = "bench"


@dataclass
class Report:
    """Comparisons against their targets."""

    missed: list[str] = field(default_factory=list)

    def ratio(self, name: str, ours: list[float], theirs: list[float], target: float) -> None:
        mine, other = statistics.median(ours), statistics.median(theirs)
        ratio = mine / other
        self._verdict(name, ratio <= target)
        print(
            f"{name}: {mine:.3f} s against {other:.3f} s, ratio {ratio:.2f} (target {target}), n={len(ours)}/{len(theirs)}"
        )

    def told(self, name: str, ours: list[float], theirs: list[float]) -> None:
        """Print a comparison that has no target."""
        mine, other = statistics.median(ours), statistics.median(theirs)
        print(
            f"{name}: {mine:.3f} s against {other:.3f} s, ratio {mine / other:.2f} (no target), n={len(ours)}"
        )

    def limit(self, name: str, value: float, target: float, unit: str) -> None:
        self._verdict(name, value <= target)
        print(f"{name}: {value:.1f} {unit} (target {target:g})")

    def _verdict(self, name: str, met: bool) -> None:
        if not met:
            self.missed.append(name)
            print("MISSED ", end="")


def first_answer(host: str, port: int, name: str, wanted: str, limit: float = 30) -> None:
    """Ask until the answer holds `wanted`."""
    deadline = time.perf_counter() + limit
    while time.perf_counter() < deadline:
        connection = http.client.HTTPConnection(host, port, timeout=5)
        try:
            connection.request("GET", "/", headers={"Host": name})
            if wanted in connection.getresponse().read().decode():
                return
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.005)
    raise SystemExit(f"{name} did not answer {wanted!r} within {limit} s")


def stamped(source: str, stamp: str) -> str:
    """The example's code with its version string changed: the code-only change that is pushed."""
    return source.replace(VERSION_MARK, f"{VERSION_MARK}-{stamp}")


VERSION_MARK = "Hello from Python"


def to_first_answer(server: Server, change: Callable[[], object], wanted: str) -> float:
    """Seconds from the start of `change` to the first answer through the router that holds `wanted`."""
    with ThreadPoolExecutor(1) as background:
        began = time.perf_counter()
        changing = background.submit(change)
        first_answer("127.0.0.1", server.ports["http_port"], f"{APP}.localhost", wanted)
        took = time.perf_counter() - began
        changing.result()
    # The old instance stops while nobody waits for it; the next round shall not compete with that.
    eventually(lambda: len(server.containers(APP)) == 1)
    return took


class CodeOnlyPushes:
    """Pushes of the example with a version string that was never pushed before, so that each one builds."""

    def __init__(self, server: Server, work: Repository, source: str) -> None:
        self._server = server
        self._work = work
        self._source = source
        self._numbers = itertools.count()

    def time(self, **files: str) -> float:
        """Seconds from the start of `git push` to the first answer of the new version."""
        stamp = f"push{next(self._numbers)}."
        self._work.commit({"app.py": stamped(self._source, stamp), **files})
        return to_first_answer(self._server, lambda: self._server.push(self._work, APP), stamp)


@contextmanager
def floor_image(server: Server) -> Iterator[list[str]]:
    """Tags the image that runs now as the floor's base; gives its command."""
    with engine() as client:
        running = server.containers(APP)[0]
        client.images.get(running.image.id).tag("cygni-bench/floor", "base")
        try:
            yield running.attrs["Config"]["Cmd"]
        finally:
            for tag in ("base", "next"):
                client.images.remove(f"cygni-bench/floor:{tag}", force=True)


def floor(command: list[str], source: str, n: int) -> float:
    """One COPY on the image that runs now, build, run, first answer: raw calls of the engine's API."""
    with engine() as client:
        return _floor_round(client, command, source, n)


def compare_pushes(server: Server, work: Repository, source: str, rounds: int, report: Report) -> None:
    """In turns, so that a drift of the machine's speed meets every side."""
    ours = CodeOnlyPushes(server, work, source)
    plain = work.path.joinpath("Procfile").read_text()
    with_command = f"release: true\n{plain}"
    ours.time(), ours.time()
    pushes, raw, with_commands = [], [], []
    with floor_image(server) as command:
        for n in range(rounds):
            raw.append(floor(command, source, n))
            pushes.append(ours.time(Procfile=plain))
            with_commands.append(ours.time(Procfile=with_command))
    report.ratio("code-only push to first answer", pushes, raw, 2.0)
    report.told("the same with a release command, which is one container more", with_commands, raw)


def _floor_round(client: docker.DockerClient, command: list[str], source: str, n: int) -> float:
    context = io.BytesIO()
    with tarfile.open(fileobj=context, mode="w") as tar:
        files = {
            "Dockerfile": "FROM cygni-bench/floor:base\nCOPY --chown=1000:1000 app.py /app/app.py\n",
            "app.py": stamped(source, f"floor{n}"),
        }
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    body = context.getvalue()
    api = client.api
    began = time.perf_counter()
    built = api.post(
        api._url("/build"),
        data=body,
        params={"version": "2", "t": "cygni-bench/floor:next"},
        headers={"Content-Type": "application/x-tar"},
    )
    built.raise_for_status()
    built.content  # noqa: B018 - reads the stream to its end
    made = api.create_container("cygni-bench/floor:next", command, environment={"PORT": "5000"})
    try:
        api.start(made["Id"])
        address = api.inspect_container(made["Id"])["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        first_answer(address, 5000, "floor", f"floor{n}")
        return time.perf_counter() - began
    finally:
        api.remove_container(made["Id"], force=True)


def compare_rollbacks(server: Server, rounds: int, report: Report) -> None:
    """Against a start of the same container, on the network of the apps and on the engine's own."""
    times, raw, bare = [], [], []
    for _ in range(rounds):
        bare.append(container_start(server, "bridge"))
        raw.append(container_start(server, f"cygni-{server.identity}"))
        times.append(rollback(server))
    report.ratio("rollback to the previous release", times, raw, 1.5)
    report.told("the same against a start on the engine's default network", times, bare)


def container_start(server: Server, network: str) -> float:
    """Create and start one container of the live image with the limits of an app, until its first answer."""
    with engine() as client:
        running = server.containers(APP)[0]
        limits = host_options(Resources(), init=False)
        began = time.perf_counter()
        made = client.api.create_container(
            running.image.id,
            running.attrs["Config"]["Cmd"],
            environment={"PORT": "5000"},
            host_config=client.api.create_host_config(network_mode=network, **limits),
        )
        try:
            client.api.start(made["Id"])
            networks = client.api.inspect_container(made["Id"])["NetworkSettings"]["Networks"]
            first_answer(networks[network]["IPAddress"], 5000, "start", "Hello")
            return time.perf_counter() - began
        finally:
            client.api.remove_container(made["Id"], force=True)


def rollback(server: Server) -> float:
    """Seconds from the start of the command to the first answer of the release that it makes."""
    version = int(json.loads(server.ssh("releases", "-a", APP, "--json").stdout)[0]["version"]) + 1
    return to_first_answer(server, partial(server.ssh, "rollback", "-a", APP), f"release v{version}\n")


def deploys_under_load(server: Server, work: Repository, source: str, rounds: int, report: Report) -> None:
    with Load(server, APP) as load:
        for n in range(rounds):
            work.commit({"app.py": stamped(source, f"load{n}")})
            server.push(work, APP)
    report.limit(
        f"failed requests of {load.answers} at 50/s through {rounds} deploys", len(load.failures), 0, ""
    )


def failing_deploys_under_load(
    server: Server, work: Repository, source: str, rounds: int, report: Report
) -> None:
    with Load(server, APP) as load:
        for n in range(rounds):
            work.commit({"app.py": f"raise RuntimeError('broken {n}')\n"})
            done = server.push(work, APP, check=False)
            assert done.returncode != 0, "a broken app was deployed"
            work.git("reset", "-q", "--hard", "HEAD~1")
    report.limit(
        f"failed requests of {load.answers} at 50/s through {rounds} failing deploys",
        len(load.failures),
        0,
        "",
    )


def idle(server: Server, report: Report) -> None:
    """50 apps registered, 10 running."""
    work = server.data.parent / "idle"
    source = Repository(work, example("python"))
    for n in range(9):
        server.push(source, f"idle{n}")
    for n in range(40):
        server.cygni("apps:create", f"registered{n}")
    assert server.process is not None
    time.sleep(5)  # what the pushes left to do must not count
    before, seconds = _cpu_seconds(server.process.pid), 20
    time.sleep(seconds)
    used = (_cpu_seconds(server.process.pid) - before) / seconds * 100
    report.limit("idle control plane, resident memory", _resident(server.process.pid) / (1 << 20), 150, "MiB")
    report.limit("idle control plane, CPU of one core", used, 1, "%")


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) << 10


@contextmanager
def bench_server() -> Iterator[Server]:
    with (
        tempfile.TemporaryDirectory(prefix="cygni-bench-") as folder,
        running_server(Path(folder), network="10.199.7.0/24") as server,
    ):
        yield server


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--only", help="push, load, rollback, receive or idle")
    arguments = parser.parse_args()
    report = Report()
    with bench_server() as server:
        files = example("python")
        work = Repository(server.data.parent / "bench", files)
        server.push(work, APP)
        source = files["app.py"]
        work.commit({"app.py": stamped(source, "second")})
        server.push(work, APP)  # from here on there is a release to go back to

        def wanted(name: str) -> bool:
            return arguments.only in {None, name}

        if wanted("push"):
            compare_pushes(server, work, source, arguments.rounds, report)
        if wanted("load"):
            deploys_under_load(server, work, source, 20, report)
            failing_deploys_under_load(server, work, source, 5, report)
        if wanted("rollback"):
            compare_rollbacks(server, arguments.rounds, report)
        if wanted("idle"):
            idle(server, report)
    if wanted("receive"):
        from bench_receive import measure

        measure(report, arguments.rounds)
    if report.missed:
        print("missed: " + ", ".join(report.missed))
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
