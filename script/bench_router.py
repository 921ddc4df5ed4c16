"""Measures the router against nginx, HAProxy and Caddy: `script/bench router [--rounds N] [--only NAME]...`.

One core for the proxy; the backend (nginx) and the load share another. On a machine of two cores that core is full
before the fastest proxies are, which flatters the slower ones; CPU time a request, printed beside each rate, does
not depend on it. All proxies log every request (nginx buffered, HAProxy to a datagram socket, Caddy to a file, ours
through its control stream to this process). Rounds are interleaved; medians are compared. Exit code 1 for a missed
target.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bench_proxies as proxies
from bench_proxies import HOST, LARGE, LOAD_CORE, MIDDLE, SMALL, Proxy, pin

PACKAGES = {
    "nginx": "nginx-light",
    "haproxy": "haproxy",
    "caddy": "caddy",
    "wrk": "wrk",
    "h2load": "nghttp2-client",
    "openssl": "openssl",
}
CONNECTIONS = {SMALL: 64, MIDDLE: 32, LARGE: 8}
VARIED = """
local n = 0
request = function()
  n = n + 1
  return wrk.format("GET", "/small?page=" .. n, {
    ["Host"] = "bench.localhost", ["User-Agent"] = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101",
    ["Accept"] = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    ["Accept-Language"] = "en-US,en;q=0.5", ["Accept-Encoding"] = "gzip, deflate, br", ["Connection"] = "keep-alive",
    ["Referer"] = "http://bench.localhost/" .. n, ["Cookie"] = "session=0123456789abcdef0123456789abcdef; n=" .. n,
    ["Sec-Fetch-Dest"] = "document", ["Sec-Fetch-Mode"] = "navigate", ["Sec-Fetch-Site"] = "same-origin",
  })
end
"""


@dataclass
class Report:
    """Comparisons against their targets."""

    missed: list[str] = field(default_factory=list)

    def at_least(self, name: str, value: float, target: float) -> None:
        self._say(name, value >= target, f"{value:.2f} (target at least {target:g})")

    def at_most(self, name: str, value: float, target: float, unit: str = "") -> None:
        self._say(name, value <= target, f"{value:.2f}{unit} (target at most {target:g}{unit})")

    def _say(self, name: str, met: bool, text: str) -> None:
        if not met:
            self.missed.append(name)
        print(f"  {'met   ' if met else 'MISSED'} {name}: {text}", flush=True)


@dataclass
class Round:
    """One run of the load against one proxy."""

    rate: float
    throughput: float
    cpu: float
    """Microseconds of the proxy's CPU a request."""


def install() -> None:
    missing = sorted({package for program, package in PACKAGES.items() if shutil.which(program) is None})
    if not missing:
        return
    print(f"-----> Installing Debian packages: {' '.join(missing)}", file=sys.stderr)
    policy = Path("/usr/sbin/policy-rc.d")  # the programs are wanted, not services that listen on port 80
    made = not policy.exists()
    if made:
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
    try:
        environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-qq"], check=True)
        command = ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *missing]
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    finally:
        if made:
            policy.unlink()


def wrk(
    proxy: Proxy,
    path: str,
    seconds: float,
    script: Path | None = None,
    *,
    tls: bool = False,
    close: bool = False,
) -> Round:
    command = ["wrk", "-t1", f"-c{CONNECTIONS[path]}", f"-d{seconds:g}s", "-H", f"Host: {HOST}"]
    command += ["-H", "Connection: close"] if close else []
    command += ["-s", str(script)] if script else []
    url = f"https://127.0.0.1:{proxy.tls}{path}" if tls else f"http://127.0.0.1:{proxy.port}{path}"
    before, began = proxy.cpu(), time.perf_counter()
    done = subprocess.run(pin([*command, url], LOAD_CORE), capture_output=True, text=True, check=False)
    cpu, took = proxy.cpu() - before, time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{proxy.name}: wrk failed: {done.stdout}{done.stderr}")
    if "Non-2xx" in done.stdout or "Socket errors" in done.stdout:
        raise SystemExit(f"{proxy.name} failed requests:\n{done.stdout}")
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])  # type: ignore[index]
    amount, unit = re.search(r"requests in [^,]+, ([\d.]+)([KMG]?B) read", done.stdout).groups()  # type: ignore[union-attr]
    read = float(amount) * {"B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}[unit]
    return Round(requests / took, read / took, cpu / requests * 1e6)


@contextmanager
def world(names: list[str]) -> Iterator[tuple[Path, int, dict[str, Proxy]]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        behind = stack.enter_context(proxies.backend(folder))
        yield (
            folder,
            behind,
            {name: stack.enter_context(getattr(proxies, name)(folder, behind)) for name in names},
        )


def compare(
    title: str, found: dict[str, Proxy], measure: Callable[[Proxy], Round], rounds: int
) -> dict[str, Round]:
    """Measure every proxy once a round; return the medians."""
    print(f"-----> {title}", flush=True)
    for proxy in found.values():
        measure(proxy)  # the first connections, and what is allocated once
    runs: dict[str, list[Round]] = {name: [] for name in found}
    for _ in range(rounds):
        for name, proxy in found.items():
            runs[name].append(measure(proxy))
    medians = {}
    for name, results in runs.items():
        middle = medians[name] = Round(
            *(
                statistics.median(getattr(item, what) for item in results)
                for what in ("rate", "throughput", "cpu")
            )
        )
        spread = " ".join(f"{item.rate:.0f}" for item in results)
        print(
            f"       {name:8} {middle.rate:9.0f} requests/s {middle.throughput / 1e6:8.1f} MB/s"
            f" {middle.cpu:8.1f} µs CPU/request   rounds: {spread}",
            flush=True,
        )
    return medians


def keep_alive(report: Report, rounds: int, seconds: float) -> None:
    with world(["cygni", "nginx", "haproxy", "caddy"]) as (folder, _, found):
        same = compare("small answers, kept-alive", found, lambda proxy: wrk(proxy, SMALL, seconds), rounds)
        _judge(report, "small", same)
        script = folder / "varied.lua"
        script.write_text(VARIED)
        varied = compare(
            "small answers, a browser's headers, no two requests alike",
            found, lambda proxy: wrk(proxy, SMALL, seconds, script), rounds,
        )  # fmt: skip
        _judge(report, "varied", varied)


def _judge(report: Report, name: str, medians: dict[str, Round]) -> None:
    ours = medians["cygni"]
    report.at_least(f"{name}: requests/s, of nginx's", ours.rate / medians["nginx"].rate, 0.6)
    report.at_least(f"{name}: requests/s, of Caddy's", ours.rate / medians["caddy"].rate, 3.5)
    print(f"         {name}: nginx's CPU a request, of ours: {medians['nginx'].cpu / ours.cpu:.2f}")


def bodies(report: Report, rounds: int, seconds: float) -> None:
    with world(["cygni", "nginx", "haproxy"]) as (_, _, found):
        for path in (MIDDLE, LARGE):
            medians = compare(
                f"{path[1:]} bodies", found, lambda proxy, path=path: wrk(proxy, path, seconds), rounds
            )  # type: ignore[misc]
            ratio = medians["cygni"].throughput / medians["nginx"].throughput
            report.at_least(f"{path[1:]} bodies: throughput, of nginx's", ratio, 0.8)


def encrypted(report: Report, rounds: int, seconds: float) -> None:
    with world(["cygni", "nginx"]) as (_, _, found):
        for title, close in (("small answers over TLS, kept-alive", False), ("new TLS connections", True)):
            medians = compare(
                title,
                found,
                lambda proxy, close=close: wrk(proxy, SMALL, seconds, tls=True, close=close),
                rounds,  # type: ignore[misc]
            )
            report.at_least(f"{title}, of nginx's", medians["cygni"].rate / medians["nginx"].rate, 0.5)


def latency(report: Report, rounds: int, seconds: float) -> None:
    """At a fixed rate, where a queue would show."""
    print("-----> latency at 5,000 requests/s")
    with world(["cygni", "nginx"]) as (folder, _, found):
        worst: dict[str, list[float]] = {name: [] for name in found}
        for n in range(rounds):
            for name, proxy in found.items():
                worst[name].append(_p99(proxy, folder / f"{name}-{n}.log", seconds))
        for name, values in worst.items():
            print(f"       {name:8} p99 {statistics.median(values):.2f} ms")
        over = statistics.median(worst["cygni"]) - statistics.median(worst["nginx"])
        report.at_most("p99 over nginx's at 5,000 requests/s", over, 2, " ms")


def _p99(proxy: Proxy, log: Path, seconds: float) -> float:
    command = ["h2load", "--h1", "-t1", "-c50", "--rps=100", f"-D{seconds:g}", f"--log-file={log}"]
    url = f"http://127.0.0.1:{proxy.port}{SMALL}"
    command += [f"--connect-to=127.0.0.1:{proxy.port}", url.replace("127.0.0.1", HOST)]
    subprocess.run(pin(command, LOAD_CORE), check=True, stdout=subprocess.DEVNULL)
    entries = [line.split("\t") for line in log.read_text().splitlines()]
    wrong = [entry for entry in entries if entry[1] != "200"]
    if wrong or len(entries) < seconds * 2_500:
        raise SystemExit(f"{proxy.name}: {len(wrong)} of {len(entries)} requests failed at a fixed rate")
    return statistics.quantiles([int(entry[2]) / 1_000 for entry in entries], n=100)[98]


def workers(report: Report, rounds: int, seconds: float) -> None:
    """CPU time a request; both cores are free to everybody here."""
    print("-----> CPU a request with one and with two workers")
    with world([]) as (folder, behind, _), ExitStack() as stack:
        found = {n: stack.enter_context(proxies.cygni(folder, behind, None, n)) for n in (1, 2)}
        used: dict[int, list[float]] = {1: [], 2: []}
        for _ in range(rounds):
            for n, proxy in found.items():
                used[n].append(wrk(proxy, SMALL, seconds).cpu)
        one, two = (statistics.median(used[n]) for n in (1, 2))
        print(f"       one {one:.1f} µs, two {two:.1f} µs")
        report.at_most("CPU a request with two workers, of that with one", two / one, 1.1)


def idle_websockets(report: Report, count: int) -> None:
    """Resident memory a connection that was upgraded and says nothing."""
    print(f"-----> {count} idle WebSockets")
    script = "import sys, bench_sockets; bench_sockets.serve(int(sys.argv[1]))"
    port = proxies.free_port()
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
        os.environ.update(environment)
        stack.enter_context(
            proxies.running("websockets", [sys.executable, "-c", script, str(port)], port, LOAD_CORE)
        )
        proxy = stack.enter_context(
            proxies.cygni(
                folder, port, limits={"connections": count + 100, "address_connections": count + 100}
            )
        )
        before = proxy.memory()
        clients = [stack.enter_context(_upgraded(proxy.port)) for _ in range(count)]
        each = (proxy.memory() - before) / len(clients) / 1_024
        report.at_most("memory of an idle WebSocket", each, 20, " KiB")


@contextmanager
def _upgraded(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), 20) as client:
        client.sendall(
            f"GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
        )
        if not client.recv(4_096).startswith(b"HTTP/1.1 101 "):
            raise SystemExit("the router did not upgrade a connection")
        yield client


def main() -> int:
    parser = argparse.ArgumentParser(prog="script/bench router", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4, help="of load in each round")
    parser.add_argument("--sockets", type=int, default=10_000, help="idle WebSockets")
    parser.add_argument(
        "--only", action="append", choices=["keep-alive", "bodies", "tls", "latency", "workers", "websockets"]
    )
    told = parser.parse_args()
    install()
    proxies.allow_many_files()
    report = Report()
    runs: dict[str, Callable[[], None]] = {
        "keep-alive": lambda: keep_alive(report, told.rounds, told.seconds),
        "bodies": lambda: bodies(report, told.rounds, told.seconds),
        "tls": lambda: encrypted(report, told.rounds, told.seconds),
        "latency": lambda: latency(report, told.rounds, told.seconds),
        "workers": lambda: workers(report, told.rounds, told.seconds),
        "websockets": lambda: idle_websockets(report, told.sockets),
    }
    for name in told.only or runs:
        runs[name]()
    print(f"{len(report.missed)} targets missed" if report.missed else "all targets met")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
