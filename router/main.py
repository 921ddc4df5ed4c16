"""A router's parent process: sockets, saved table, control socket, workers. It never touches a request."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator

import uvloop

from config.service import ServiceManager
from router import feed, listeners, store
from router.control import ControlServer
from router.options import RouterOptions
from router.relay import Relay
from router.spool import Spool
from router.supervisor import Supervisor


def run(options: RouterOptions) -> None:
    """Serve until SIGTERM or SIGINT; see `serve`."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(options))


async def serve(options: RouterOptions) -> None:
    """Run a router until SIGTERM, SIGINT or cancellation, then drain within `limits.drain` seconds.

    Raises:
        RouterUnavailableError: an address or path cannot be used.
    """
    sockets = listeners.obtain(options.bind, options.http_port, options.https_port, os.environ)
    with contextlib.closing(sockets):
        await _Router(options, sockets, ServiceManager()).serve()


class _Router:
    """Wires the parts of the parent process and runs them."""

    def __init__(self, options: RouterOptions, sockets: listeners.Listeners, manager: ServiceManager) -> None:
        self._options = options
        self._manager = manager
        self._sockets = sockets
        self._port, self._https_port = sockets.http_port, sockets.https_port
        self._count = options.workers or len(os.sched_getaffinity(0))
        table = store.load(options.state_file)
        self._spool = Spool(options.spool_lines)
        self._saver = store.Saver(options.state_file, table, self._saved)
        self._relay = Relay(table, self._saver, self._spool)
        self._control = ControlServer(options.control_socket, self._relay, self._hello)
        self._supervisor = Supervisor(options, sockets, self._relay, self._count)

    async def serve(self) -> None:
        stopped = asyncio.Event()
        with _signals(stopped):
            await self._control.start()
            helpers = [
                asyncio.create_task(part.run()) for part in (self._spool, self._saver, self._supervisor)
            ]
            try:
                self._supervisor.start()
                self._announce()
                await _first(stopped, helpers)
                await self._stop()
            finally:
                await self._supervisor.kill()
                await self._control.close()
                for helper in helpers:
                    helper.cancel()
                await asyncio.gather(*helpers, return_exceptions=True)

    async def _stop(self) -> None:
        self._manager.stopping()
        self._sockets.close()
        if self._control.replaced():
            await self._control.close()  # clients are to find our successor at once
        with contextlib.suppress(TimeoutError):
            await self._supervisor.stop()

    def _hello(self) -> feed.Hello:
        version = self._relay.table.version
        return feed.Hello(version, self._port, self._count, os.getpid(), self._https_port)

    def _saved(self) -> None:
        self._relay.settle()

    def _announce(self) -> None:
        if self._options.port_file is not None:
            self._options.port_file.write_text(f"{self._port}\n")
        tls = f" https={self._options.bind}:{self._https_port}" if self._https_port else ""
        address = f"{self._options.bind}:{self._port}"
        sys.stdout.write(f"router listening http={address}{tls} workers={self._count}\n")
        sys.stdout.flush()
        self._manager.ready()


async def _first(stopped: asyncio.Event, helpers: list[asyncio.Task[None]]) -> None:
    """Wait for the event; a helper that ends before it failed, and takes the router down with its error."""
    waiter = asyncio.create_task(stopped.wait())
    try:
        await asyncio.wait([waiter, *helpers], return_when=asyncio.FIRST_COMPLETED)
        for helper in helpers:
            if helper.done():
                helper.result()
    finally:
        waiter.cancel()


@contextlib.contextmanager
def _signals(stopped: asyncio.Event) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        yield
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
