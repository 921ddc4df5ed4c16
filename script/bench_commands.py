"""Measures commands over SSH and the log store: `script/bench commands [--rounds N] [--only NAME]`.

Prints both sides of every comparison and their ratio, as medians of one run. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from bench_push import APP, Report, bench_server, container_start, to_first_answer  # noqa: E402
from bench_receive import SSHD, sshd  # noqa: E402
from tests_support import Repository, Server, eventually, example, make_key, running_server  # noqa: E402

from cygni.logs import Filter, LogLimits, LogRecord, LogStore  # noqa: E402

SESSIONS = 200
HISTORY_BYTES = 1 << 30
LINES_PER_SECOND = 20_000


def compare_apps(report: Report, rounds: int) -> None:
    """`ssh … apps` against `ssh … true` of OpenSSH's own sshd, in turns."""
    if not Path(SSHD).exists():
        print("LEFT OUT: commands against sshd (install openssh-server to measure it)")
        report.missed.append("apps (sshd is not installed)")
        return
    with tempfile.TemporaryDirectory(prefix="cygni-commands-") as folder, ExitStack() as stack:
        root = Path(folder)
        server = stack.enter_context(running_server(root, engine="memory"))
        theirs = root / "sshd"
        theirs.mkdir()
        subprocess.run(["cp", str(server.key), f"{server.key}.pub", str(theirs)], check=True)
        port = stack.enter_context(sshd(theirs, server.key))
        for n in range(20):
            server.ssh("apps:create", f"app{n}")
        ours, other = [], []
        for n in range(rounds + 2):
            mine = _seconds(server, "cygni@127.0.0.1", server.ports["ssh_port"], "apps")
            plain = _seconds(server, "127.0.0.1", port, "true")
            if n >= 2:
                ours.append(mine)
                other.append(plain)
        report.ratio("ssh apps (20 apps) against sshd running true", ours, other, 0.5)


def _seconds(server: Server, destination: str, port: int, command: str) -> float:
    began = time.perf_counter()
    words = ["ssh", *server.ssh_options(), "-p", str(port), destination, command]
    subprocess.run(words, check=True, capture_output=True, timeout=60)
    return time.perf_counter() - began


def compare_config(report: Report, rounds: int) -> None:
    """From `config:set` to the first answer with the new value, against a start of the same container."""
    with bench_server() as server:
        source = example("python")
        source["app.py"] = source["app.py"].replace("Hello", "{os.environ.get('WORD', 'Hello')} Hello", 1)
        if "import os" not in source["app.py"]:
            source["app.py"] = "import os\n" + source["app.py"]
        server.push(Repository(server.data.parent / "bench", source), APP)
        ours, raw = [], []
        for n in range(rounds):
            raw.append(container_start(server, f"cygni-{server.identity}"))
            version = n + 2
            change = partial(server.ssh, "config:set", "-a", APP, f"WORD=word{n}")
            ours.append(to_first_answer(server, change, f"release v{version}"))
        report.ratio("config:set to the new value served", ours, raw, 2.0)


def tails(report: Report) -> None:
    """Memory that each of many sessions costs which follow a log."""
    with tempfile.TemporaryDirectory(prefix="cygni-tails-") as folder:
        root = Path(folder)
        with running_server(root, engine="memory") as server:
            server.push(Repository(root / "work", {"Procfile": "web: x\n", "requirements.txt": ""}), "tailed")
            keys = [make_key(root / f"key{n}") for n in range(4)]
            for key in keys:
                public = key.with_suffix(".pub").read_text()
                server.cygni("keys:add", key.name, "--user", "tester", input=public)
            assert server.process is not None
            pid = server.process.pid
            for key in keys:
                server.ssh("apps", key=key)
            before, clients = _resident(pid), []
            for n in range(SESSIONS):
                key = keys[n % len(keys)]
                words = ["ssh", *server.ssh_options(key), "-p", str(server.ports["ssh_port"])]
                clients.append(
                    subprocess.Popen(
                        [*words, "cygni@127.0.0.1", "logs tailed -t -n 1"], stdout=subprocess.PIPE
                    )
                )
                if n % 10 == 9:  # logins one after the other cost less than all at once
                    assert clients[-1].stdout is not None
                    clients[-1].stdout.readline()
            eventually(lambda: server.log().count('"name": "logs"') >= SESSIONS, limit=60)
            alive = sum(client.poll() is None for client in clients)
            used = (_resident(pid) - before) / 1024 / alive
            for client in clients:
                client.terminate()
            for client in clients:
                client.wait(10)
                if client.stdout is not None:
                    client.stdout.close()
            report.limit(f"memory of each of {alive} sessions that follow a log", used, 300, "KiB")


def _resident(pid: int) -> int:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) << 10


def _records(first: int, count: int) -> list[LogRecord]:
    at = datetime.now(UTC)
    text = "GET /products/12345 200 in 12 ms, 48213 bytes to the visitor, and some words more"
    return [LogRecord(at, "app", "web.1", f"{n} {text}") for n in range(first, first + count)]


async def _throughput(root: Path) -> tuple[float, float]:
    """Lines a second into the store with a follower attached, and the seconds until it had the last line."""
    total, batch = 400_000, 500
    async with LogStore(root) as store:

        async def follow() -> float:
            async for records in store.batches("app1", 0, Filter(), follow=True):
                if records[-1].text.startswith(f"{total - 1} "):
                    return time.perf_counter()
            raise AssertionError("the log ended")

        await store.append("app1", _records(-1, 1))
        follower = asyncio.create_task(follow())
        await asyncio.sleep(0.1)
        prepared = [_records(first, batch) for first in range(0, total, batch)]
        began = time.perf_counter()
        for records in prepared:
            await store.append("app1", records)
        took = time.perf_counter() - began
        return total / took, await follower - began - took


async def _history(root: Path) -> tuple[float, float]:
    """Seconds to the first of the last 1,500 lines of a 1 GiB log: the first time after a restart, and then."""
    limits = LogLimits(total_bytes=2 << 30)
    records = _records(0, 2000)
    async with LogStore(root, limits) as store:
        size = 0
        while size < HISTORY_BYTES:
            await store.append("app1", records)
            size += sum(len(record.text) + 50 for record in records)
    async with LogStore(root, limits) as store:
        began = time.perf_counter()
        async for batch in store.batches("app1", 1500, Filter()):
            assert len(batch) == 1500
            cold = time.perf_counter() - began
        began = time.perf_counter()
        async for _ in store.batches("app1", 1500, Filter()):
            return cold, time.perf_counter() - began
    raise AssertionError("no history")


class Bounds(Report):
    """A report that knows lower bounds as well."""

    def at_least(self, name: str, value: float, target: float) -> None:
        self._verdict(name, value >= target)
        print(f"{name}: {value:,.0f} (target at least {target:,.0f})")


def logs(report: Bounds) -> None:
    with tempfile.TemporaryDirectory(prefix="cygni-logs-") as folder:
        rate, behind = asyncio.run(_throughput(Path(folder) / "rate"))
        report.at_least("lines a second into the log store with a tail attached", rate, LINES_PER_SECOND)
        print(f"  the tail had the last line {behind:.2f} s after it was stored")
        cold, warm = asyncio.run(_history(Path(folder) / "history"))
        report.limit("first of the last 1,500 lines of a 1 GiB history", warm * 1000, 100, "ms")
        # A server opens the logs of what runs when it starts, so nobody waits for this.
        print(f"  the same when the log has to be opened first: {cold * 1000:.1f} ms")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--only", choices=["apps", "config", "tails", "logs"])
    arguments = parser.parse_args()
    report = Bounds()
    parts = {
        "apps": lambda: compare_apps(report, arguments.rounds),
        "config": lambda: compare_config(report, arguments.rounds),
        "tails": lambda: tails(report),
        "logs": lambda: logs(report),
    }
    for name, measure in parts.items():
        if arguments.only in {None, name}:
            measure()
    if report.missed:
        print("missed: " + ", ".join(report.missed))
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
