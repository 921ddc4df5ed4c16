"""A real router process on port 0, small asyncio apps behind it, raw sockets in front of it."""

import asyncio
import contextlib
import dataclasses
import json
import os
import re
import signal
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from router.client import RouterClient
from router.options import Limits
from router.table import AppRoute, RouteState, Target

LAUNCH = """
import json, os, sys
from pathlib import Path
from router.main import run
from router.options import Limits, RouterOptions
told = json.loads(sys.argv[1])
sockets = told.pop("sockets")
names = told.pop("socket_names")
if sockets:  # as a service manager hands them over: descriptors from 3 on, and the receiver's pid
    for number, descriptor in enumerate(sockets, 3):
        os.dup2(descriptor, number)
    os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)), LISTEN_FDNAMES=names)
for name in ("control_socket", "state_file", "port_file"):
    told[name] = Path(told[name])
told["limits"] = Limits(**told["limits"])
told["trusted_proxies"] = tuple(told["trusted_proxies"])
run(RouterOptions(**told))
"""
QUICK = Limits(sweep=0.05, drain=5.0, linger=0.5)


class RouterProcess:
    """`router.main.run` as a child process; its output ends up in the test's log on failure."""

    def __init__(self, folder: Path, limits: Limits, workers: int, trusted: tuple[str, ...]) -> None:
        self.folder, self.limits, self.workers, self.trusted = folder, limits, workers, trusted
        self.socket = folder / "router.sock"
        self.process: asyncio.subprocess.Process
        self.port = 0
        self.https_port: int | None = None
        self.socket_names = ""

    async def start(
        self, *, sockets: tuple[int, ...] = (), spool_lines: int = 10_000, ack_timeout: float = 10
    ) -> None:
        options = {
            "bind": "127.0.0.1",
            "http_port": self.port,
            "https_port": self.https_port,
            "control_socket": str(self.socket),
            "state_file": str(self.folder / "table.json"),
            "port_file": str(self.folder / "port"),
            "workers": self.workers,
            "sockets": sockets,
            "socket_names": self.socket_names,
            "trusted_proxies": self.trusted,
            "spool_lines": spool_lines,
            "ack_timeout": ack_timeout,
            "limits": dataclasses.asdict(self.limits),
        }
        command = [sys.executable, "-P", "-c", LAUNCH, json.dumps(options)]
        self.process = await asyncio.create_subprocess_exec(
            *command, stdout=asyncio.subprocess.PIPE, pass_fds=sockets
        )
        assert self.process.stdout is not None
        async with asyncio.timeout(20):
            line = await self.process.stdout.readline()
        self.port = int(re.search(rb"http=\S+:(\d+)", line)[1])  # type: ignore[index]
        tls = re.search(rb"https=\S+:(\d+)", line)
        self.https_port = int(tls[1]) if tls else None

    def worker_pids(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    async def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.returncode is None:
            self.process.send_signal(number)
        async with asyncio.timeout(20):
            code = await self.process.wait()
        with contextlib.suppress(ProcessLookupError):
            self.process._transport.close()  # type: ignore[attr-defined]
        return code


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class App:
    """A server on a free port of 127.0.0.1, run by `handler` once a connection."""

    def __init__(self, name: str, handler: Handler) -> None:
        self.name, self.handler = name, handler
        self.connections = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.server: asyncio.Server
        self.port = 0

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, backlog=1024)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            await self.handler(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def stop(self) -> None:
        self.server.close()
        running = list(self.tasks)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def target(self, name: str = "web.1") -> Target:
        return Target(self.name, name, "127.0.0.1", self.port)


@dataclasses.dataclass
class Request:
    """A request as an app received it."""

    line: str
    headers: list[tuple[str, str]]
    raw: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    app: str

    def header(self, name: str) -> str | None:
        found = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(found) < 2, f"{name} came twice"
        return found[0] if found else None

    @property
    def path(self) -> str:
        return self.line.split(" ")[1]

    async def body(self) -> bytes:
        if self.header("transfer-encoding") == "chunked":
            pieces = []
            while size := int(await self.reader.readuntil(b"\r\n"), 16):
                pieces.append(await self.reader.readexactly(size))
                assert await self.reader.readexactly(2) == b"\r\n"
            assert await self.reader.readexactly(2) == b"\r\n"
            return b"".join(pieces)
        return await self.reader.readexactly(int(self.header("content-length") or 0))

    async def answer(self, body: bytes | str, *, status: str = "200 OK", extra: str = "") -> None:
        data = body.encode() if isinstance(body, str) else body
        self.writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\n{extra}\r\n".encode() + data)
        await self.writer.drain()


Answer = Callable[[Request], Awaitable[None]]


class Raw:
    """A client that says exactly the bytes it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes | str) -> None:
        self.writer.write(data.encode("latin-1") if isinstance(data, str) else data)

    async def head(self) -> tuple[int, dict[str, str]]:
        async with asyncio.timeout(10):
            raw = await self.reader.readuntil(b"\r\n\r\n")
        line, *fields = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        headers = {key.lower(): value.strip() for key, _, value in (field.partition(":") for field in fields)}
        return int(line.split(" ")[1]), headers

    async def answer(self, *, bodyless: bool = False) -> tuple[int, dict[str, str], bytes]:
        status, headers = await self.head()
        async with asyncio.timeout(10):
            if bodyless or status in (204, 304) or status < 200:
                return status, headers, b""
            if headers.get("transfer-encoding") == "chunked":
                return status, headers, await self._chunks()
            if "content-length" in headers:
                return status, headers, await self.reader.readexactly(int(headers["content-length"]))
            return status, headers, await self.reader.read()

    async def _chunks(self) -> bytes:
        pieces = []
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            pieces.append(await self.reader.readexactly(size))
            assert await self.reader.readexactly(2) == b"\r\n"
        assert await self.reader.readexactly(2) == b"\r\n"
        return b"".join(pieces)

    async def get(self, path: str = "/", host: str = "shop.localhost") -> tuple[int, dict[str, str], bytes]:
        self.send(f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
        return await self.answer()

    async def ended(self, within: float = 5.0) -> bool:
        """Whether the router closes, with nothing more said."""
        try:
            async with asyncio.timeout(within):
                return await self.reader.read() == b""
        except ConnectionError:
            return True

    def reset(self) -> None:
        """Vanish with a RST, where closing would look like the end of the input only."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def close(self) -> None:
        self.writer.transport.abort()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


class World:
    """One test's router, control client, apps and clients; all closed at its end."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stack = contextlib.AsyncExitStack()
        self.router: RouterProcess
        self.control: RouterClient

    async def launch(
        self,
        limits: Limits = QUICK,
        *,
        workers: int = 1,
        trusted: tuple[str, ...] = (),
        sockets: tuple[int, ...] = (),
        spool_lines: int = 10_000,
        ack_timeout: float = 10,
        tls: bool = False,
        socket_names: str = "",
    ) -> RouterProcess:
        self.router = RouterProcess(self.folder, limits, workers, trusted)
        self.router.https_port = 0 if tls else None
        self.router.socket_names = socket_names
        await self.router.start(sockets=sockets, spool_lines=spool_lines, ack_timeout=ack_timeout)
        self._stack.push_async_callback(self.router.stop, signal.SIGKILL)
        self.control = await self.connect_control()
        return self.router

    async def successor(self, sockets: tuple[int, ...]) -> RouterProcess:
        """Start a second router on the first one's sockets and paths."""
        router = RouterProcess(self.folder, self.router.limits, self.router.workers, self.router.trusted)
        await router.start(sockets=sockets)
        self._stack.push_async_callback(router.stop, signal.SIGKILL)
        return router

    async def connect_control(self, *, collect: bool = True) -> RouterClient:
        control = RouterClient(self.folder / "router.sock", collect=collect)
        await control.connect(10)
        self._stack.push_async_callback(control.close)
        return control

    async def echo(self, name: str, delay: float = 0.0) -> App:
        """An app that answers with its name, the request line and the body."""

        async def answer(request: Request) -> None:
            body = await request.body()
            if delay:
                await asyncio.sleep(delay)
            await request.answer(f"{name} {request.line}\n".encode() + body)

        return await self.http(name, answer)

    async def http(self, name: str, answer: Answer) -> App:
        """An app that keeps connections alive and calls `answer` for each request."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while True:
                raw = await reader.readuntil(b"\r\n\r\n")
                line, *fields = raw.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
                headers = [
                    (key, value.strip()) for key, _, value in (field.partition(":") for field in fields)
                ]
                await answer(Request(line, headers, raw, reader, writer, name))

        return await self.app(name, handle)

    async def says(self, name: str, data: bytes) -> App:
        """An app that reads one head, says exactly `data` and closes."""

        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(data)
            await writer.drain()

        return await self.app(name, handle)

    async def app(self, name: str, handler: Handler) -> App:
        app = App(name, handler)
        await app.start()
        self._stack.push_async_callback(app.stop)
        return app

    async def route(
        self,
        *targets: Target,
        state: RouteState = "live",
        app_id: str = "a1",
        hosts: tuple[str, ...] = ("shop.localhost",),
        timeout: float = 10,
    ) -> int:
        """Publish and wait until every worker has it."""
        version = await self.control.publish(AppRoute(app_id, "shop", hosts, targets, state))
        await self.control.acknowledged(version, timeout)
        return version

    async def client(self) -> Raw:
        raw = Raw(*await asyncio.open_connection("127.0.0.1", self.router.port))
        self._stack.push_async_callback(raw.close)
        return raw

    async def access_line(self, control: RouterClient | None = None, containing: str = "") -> str:
        async with asyncio.timeout(10):
            async for line in (control or self.control).access():
                if containing in line.text:
                    return line.text
        raise AssertionError("the stream ended")

    @staticmethod
    def rss(pid: int) -> int:
        """Resident bytes of a process."""
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    @staticmethod
    async def eventually(condition: Callable[[], bool], within: float = 10.0) -> None:
        """Poll until it holds."""
        async with asyncio.timeout(within):
            while not condition():
                await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    made = World(tmp_path)
    try:
        yield made
    finally:
        await made.close()
