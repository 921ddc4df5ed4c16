"""The router from the control plane's side: its process, its table, its access lines."""

import asyncio
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime

import structlog

from config import Settings
from cygni.logs import LogRecord, LogStore
from cygni.manifests import Manifests
from cygni.store import Store
from deployer.ports import RoutesError, Target
from router.client import RouterClient
from router.errors import RouterTimeoutError, RouterUnavailableError
from router.options import RouterOptions
from router.table import AppRoute, RouteState
from router.table import Target as RouterTarget

ACKNOWLEDGE_LIMIT = 15.0
ADOPT_LIMIT = 0.5
START_LIMIT = 20.0
STOP_LIMIT = 45.0

log = structlog.get_logger()


def router_options(settings: Settings) -> RouterOptions:
    """The router's options in a server's settings."""
    return RouterOptions(
        bind=settings.bind,
        http_port=settings.http_port,
        https_port=settings.https_port,
        control_socket=settings.router_socket,
        state_file=settings.data / "router-table.json",
        workers=settings.router_workers,
        default_domain=settings.domain,
    )


class RouterRoutes:
    """Implements the deployer's Routes: an app's targets become its route, acknowledged by every worker."""

    def __init__(self, client: RouterClient, store: Store, manifests: Manifests) -> None:
        self._client = client
        self._store = store
        self._manifests = manifests

    async def swap(self, app_id: str, targets: Sequence[Target]) -> None:
        """Send new requests to `targets` only.

        Raises:
            RoutesError: no router acknowledged in time.
        """
        app = await self._store.apps.by_id(app_id)
        if app is None:
            await self.forget(app_id)
            return
        state: RouteState = "live" if targets else "stopped"
        found = tuple(RouterTarget(t.instance_id, t.name, t.host, t.port) for t in targets)
        route = AppRoute(app.id, app.name, (self._manifests.host(app),), found, state)
        await self._acknowledged(await self._client.publish(route))

    async def forget(self, app_id: str) -> None:
        """Remove the app's route.

        Raises:
            RoutesError: no router acknowledged in time.
        """
        await self._acknowledged(await self._client.remove(app_id))

    async def _acknowledged(self, version: int) -> None:
        try:
            await self._client.acknowledged(version, ACKNOWLEDGE_LIMIT)
        except RouterTimeoutError as error:
            raise RoutesError(str(error)) from None

    async def drained(self, app_id: str, instance_ids: Sequence[str], timeout: float) -> bool:
        """Wait until no request is in flight to these instances; False when `timeout` came first."""
        return await self._client.drained(app_id, instance_ids, timeout)


class RouterProcess:
    """The router child of `cygni serve`: adopted where one runs, else started; survives a kill of its parent."""

    def __init__(self, settings: Settings, client: RouterClient) -> None:
        self._settings = settings
        self._client = client
        self._pid_file = settings.data / "router-child.pid"
        self._child: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Connect to the running router, or start one and connect; one with a service of its own is waited for.

        Raises:
            RouterUnavailableError: it did not come up in time.
        """
        if self._settings.router == "service":
            await self._client.connect(START_LIMIT)
            return
        with suppress(RouterUnavailableError):
            await self._client.connect(ADOPT_LIMIT)
            log.info("router adopted", pid=self._client.pid)
            return
        await self._spawn()
        await self._client.connect(START_LIMIT)

    async def _spawn(self) -> None:
        with (self._settings.data / "router.log").open("ab") as output:
            self._child = await asyncio.create_subprocess_exec(
                sys.executable, "-P", "-m", "cygni.cli", "router",
                stdin=asyncio.subprocess.DEVNULL, stdout=output, stderr=output,
                cwd=self._settings.data, start_new_session=True,
            )  # fmt: skip
        self._pid_file.write_text(str(self._child.pid))

    async def stop(self) -> None:
        """End the router if it is a child of this or of an earlier `serve`; one with a unit of its own stays."""
        pid = self._child_pid()
        if pid is None or not self._client.connected or self._client.pid != pid:
            return
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGTERM)
        await _gone(pid, STOP_LIMIT)
        if self._child is not None:
            await self._child.wait()
        self._pid_file.unlink(missing_ok=True)

    def _child_pid(self) -> int | None:
        with suppress(FileNotFoundError, ValueError):
            return int(self._pid_file.read_text())
        return None


async def _gone(pid: int, limit: float) -> None:
    """Wait until a process that need not be our child has ended; kill it when `limit` seconds have passed."""
    loop = asyncio.get_running_loop()
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    ended = asyncio.Event()
    loop.add_reader(descriptor, ended.set)
    try:
        await asyncio.wait_for(ended.wait(), limit)
    except TimeoutError:
        log.warning("router killed", pid=pid, after=limit)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def collect_access_lines(client: RouterClient, logs: LogStore) -> None:
    """Put the router's lines into the apps' logs until the client is closed."""
    async for line in client.access():
        record = LogRecord(datetime.fromtimestamp(line.time, UTC), "cygni", "router", line.text)
        await logs.append(line.app_id, [record])
