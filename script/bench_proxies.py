"""The proxies that `script/bench router` compares, each before the same backend, and the backend itself."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from router.client import RouterClient  # noqa: E402
from router.table import AppRoute, Certificate, Target  # noqa: E402

HOST = "bench.localhost"
PROXY_CORE, LOAD_CORE = 0, 1
SMALL, MIDDLE, LARGE = "/small", "/64k", "/10m"
TICKS = os.sysconf("SC_CLK_TCK")

LAUNCH = """
import json, sys
from pathlib import Path
from router.main import run
from router.options import Limits, RouterOptions
told = json.loads(sys.argv[1])
for name in ("control_socket", "state_file"):
    told[name] = Path(told[name])
told["limits"] = Limits(**told.get("limits", {}))
run(RouterOptions(**told))
"""

BACKEND = """
daemon off; worker_processes 1; master_process off; pid {folder}/backend.pid; error_log stderr crit;

events {{ worker_connections 8000; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 1000000000; root {folder}/files;
  client_body_temp_path {folder}/b1; proxy_temp_path {folder}/b2; fastcgi_temp_path {folder}/b3;
  uwsgi_temp_path {folder}/b4; scgi_temp_path {folder}/b5;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /small {{ default_type text/plain; return 200 "Hello, World!\\n"; }}
  }}
}}
"""

NGINX = """
daemon off; worker_processes 1; master_process off; pid {folder}/nginx.pid; error_log stderr crit;

events {{ worker_connections 8000; }}
http {{
  access_log {folder}/nginx.log combined buffer=64k flush=1s; keepalive_requests 1000000000;
  client_body_temp_path {folder}/p1; proxy_temp_path {folder}/p2; fastcgi_temp_path {folder}/p3;
  uwsgi_temp_path {folder}/p4; scgi_temp_path {folder}/p5;
  upstream app {{ server 127.0.0.1:{backend}; keepalive 256; keepalive_requests 1000000000; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    listen 127.0.0.1:{tls} ssl backlog=4096;
    ssl_certificate {folder}/chain.pem; ssl_certificate_key {folder}/key.pem; ssl_protocols TLSv1.2 TLSv1.3;
    location / {{
      proxy_pass http://app; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Request-Id $request_id; proxy_max_temp_file_size 0;
    }}
  }}
}}
"""

HAPROXY = """
global
  maxconn 4000
  nbthread 1
  log 127.0.0.1:{sink} local0
defaults
  mode http
  log global
  option httplog
  option forwardfor
  timeout connect 3s
  timeout client 75s
  timeout server 75s
  http-reuse always
frontend web
  bind 127.0.0.1:{port}
  unique-id-format %{{+X}}o\\ %ci:%cp_%fi:%fp_%Ts_%rt
  unique-id-header X-Request-Id
  default_backend app
backend app
  server one 127.0.0.1:{backend}
"""

CADDY = """
{{
  admin off
  auto_https off
  log {{
    output file {folder}/caddy.log
  }}
  servers {{
    metrics
  }}
}}
http://{host}:{port} {{
  bind 127.0.0.1
  log
  reverse_proxy 127.0.0.1:{backend}
}}
"""


def self_signed(folder: Path) -> Certificate:
    """The certificate that every proxy shows, made once a folder: ECDSA, as most are today."""
    chain, key = folder / "certificate.pem", folder / "certificate.key"
    if not chain.exists():
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ]
        command += ["-keyout", str(key), "-out", str(chain), "-subj", f"/CN={HOST}", "-days", "2"]
        subprocess.run(command, check=True, capture_output=True)
    return Certificate("bench", ("*",), chain.read_text(), key.read_text())


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclasses.dataclass
class Proxy:
    """A running proxy. CPU time and memory are those of its whole process tree."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    tls: int = 0
    """The port of TLS; 0 where it is not compared."""

    def cpu(self) -> float:
        """Seconds of CPU so far, user and system."""
        return sum(map(_cpu_of, tree(self.process.pid)))

    def memory(self) -> int:
        """Resident bytes now."""
        page = os.sysconf("SC_PAGE_SIZE")
        return sum(
            int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * page for pid in tree(self.process.pid)
        )


def _cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(item for child in children for item in tree(int(child)))]


def pin(command: list[str], core: int | None) -> list[str]:
    return command if core is None else ["taskset", "-c", str(core), *command]


@contextmanager
def running(name: str, command: list[str], port: int, core: int | None) -> Iterator[Proxy]:
    """Run a program until the block ends; what it says on stderr is shown if it fails to start."""
    environment = {**os.environ, "GOMAXPROCS": "1", "HOME": "/nonexistent", "PYTHONSAFEPATH": "1"}
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            pin(command, core), env=environment, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=errors
        )
        try:
            if not _comes_up(process, port):
                errors.seek(0)
                raise SystemExit(f"{name} does not listen:\n{errors.read().decode()[-2_000:]}")
            yield Proxy(name, port, process)
        finally:
            stop(process)


def _comes_up(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return True
        time.sleep(0.02)
    return False


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def allow_many_files() -> None:
    """Raise this process's limit, which the proxies inherit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@contextmanager
def backend(folder: Path) -> Iterator[int]:
    """nginx with fixed answers of three sizes, on the load's core."""
    files = folder / "files"
    files.mkdir()
    (files / MIDDLE[1:]).write_bytes(os.urandom(64 << 10))
    (files / LARGE[1:]).write_bytes(os.urandom(10 << 20))
    for path in (folder, files):
        path.chmod(0o755)  # a worker of nginx gives up root
    port = free_port()
    with running("backend", _nginx(folder, "backend", BACKEND, port, 0), port, LOAD_CORE):
        yield port


def _nginx(folder: Path, name: str, template: str, port: int, behind: int, tls: int = 0) -> list[str]:
    path = folder / f"{name}.conf"
    path.write_text(template.format(folder=folder, port=port, backend=behind, tls=tls))
    return ["nginx", "-c", str(path), "-e", "stderr"]


@contextmanager
def nginx(folder: Path, behind: int, core: int | None = PROXY_CORE) -> Iterator[Proxy]:
    port, tls = free_port(), free_port()
    certificate = self_signed(folder)
    (folder / "chain.pem").write_text(certificate.chain)
    (folder / "key.pem").write_text(certificate.key)
    command = _nginx(folder, "nginx", NGINX, port, behind, tls)
    with running("nginx", command, port, core) as proxy:
        proxy.tls = tls
        yield proxy


@contextmanager
def haproxy(folder: Path, behind: int, core: int | None = PROXY_CORE) -> Iterator[Proxy]:
    port, path = free_port(), folder / "haproxy.cfg"
    with socket.socket(type=socket.SOCK_DGRAM) as sink:  # its log lines; the kernel drops what nobody reads
        sink.bind(("127.0.0.1", 0))
        path.write_text(HAPROXY.format(port=port, backend=behind, sink=sink.getsockname()[1]))
        with running("haproxy", ["haproxy", "-db", "-q", "-f", str(path)], port, core) as proxy:
            yield proxy


@contextmanager
def caddy(folder: Path, behind: int, core: int | None = PROXY_CORE) -> Iterator[Proxy]:
    if shutil.which("caddy") is None:
        raise SystemExit("caddy is not installed")
    port, path = free_port(), folder / "Caddyfile"
    path.write_text(CADDY.format(folder=folder, port=port, backend=behind, host=HOST))
    command = ["caddy", "run", "--adapter", "caddyfile", "--config", str(path)]
    with running("caddy", command, port, core) as proxy:
        yield proxy


@contextmanager
def cygni(
    folder: Path, behind: int, core: int | None = PROXY_CORE, workers: int = 1, **options: object
) -> Iterator[Proxy]:
    """Our router with one route; its access lines are collected by this process, as a control plane does."""
    port, tls = free_port(), free_port()
    control = folder / f"router-{port}.sock"
    told = {
        "bind": "127.0.0.1",
        "http_port": port,
        "https_port": tls,
        "control_socket": str(control),
        "state_file": str(folder / f"router-{port}.json"),
        "workers": workers,
        **options,
    }
    command = [sys.executable, "-P", "-c", LAUNCH, json.dumps(told)]
    with running("cygni", command, port, core) as proxy, _collecting(control, behind, self_signed(folder)):
        proxy.tls = tls
        yield proxy


@contextmanager
def _collecting(control: Path, behind: int, certificate: Certificate) -> Iterator[None]:
    route = AppRoute("bench", "bench", (HOST,), (Target("i1", "web.1", "127.0.0.1", behind),))
    ready = threading.Event()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def collect() -> None:
        client = RouterClient(control)
        await client.connect(20)
        await client.acknowledged(await client.synchronize([route], [certificate]), 20)
        ready.set()
        reading = asyncio.create_task(_drain(client))
        await stop.wait()
        reading.cancel()
        await client.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(collect(),), daemon=True)
    thread.start()
    try:
        if not ready.wait(30):
            raise SystemExit("the router did not take its route")
        yield
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


async def _drain(client: RouterClient) -> None:
    async for _ in client.access():
        pass
