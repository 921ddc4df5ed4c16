"""Worker processes: started with the listening sockets, restarted with back-off, stopped with a limit."""

import asyncio
import contextlib
import dataclasses
import json
import logging
import os
import random
import socket
import sys
import time

from router import feed
from router.control import StreamPeer
from router.errors import FeedError
from router.listeners import Listeners
from router.options import RouterOptions
from router.relay import Relay, WorkerState

_log = logging.getLogger(__name__)
_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_SETTLED = 5.0
_WATCH = 1.0
_GRACE = 3.0


class Supervisor:
    """Keeps `count` workers running until `stop`."""

    def __init__(self, options: RouterOptions, listeners: Listeners, relay: Relay, count: int) -> None:
        """Prepare to run `count` workers on `listeners`; their lines go to `relay`."""
        self._options = options
        self._listeners = listeners
        self._relay = relay
        self._count = count
        self._stopping = False
        self._slots: list[asyncio.Task[None]] = []
        self._running: dict[asyncio.subprocess.Process, WorkerState] = {}

    def start(self) -> None:
        """Start the workers."""
        self._slots = [asyncio.create_task(self._keep(), name=f"worker-{n}") for n in range(self._count)]

    async def run(self) -> None:
        """Replace workers that do not apply a table in time; runs until cancelled."""
        while True:
            await asyncio.sleep(_WATCH)
            for process, state in self._running.items():
                if state.behind(time.monotonic()) > self._options.ack_timeout:
                    _log.error("worker %d does not apply its table: killed", process.pid)
                    _kill(process)

    async def stop(self) -> None:
        """Let the workers finish their requests within the drain limit, then kill what is left."""
        self._stopping = True
        for state in self._running.values():
            state.peer.send(feed.encode(feed.Stop()))
        try:
            async with asyncio.timeout(self._options.limits.drain + _GRACE):
                await asyncio.gather(*self._slots, return_exceptions=True)
        finally:
            await self.kill()

    async def kill(self) -> None:
        """End every worker at once."""
        self._stopping = True
        for slot in self._slots:
            slot.cancel()
        await asyncio.gather(*self._slots, return_exceptions=True)

    async def _keep(self) -> None:
        failures = 0
        while not self._stopping:
            started = time.monotonic()
            try:
                await self._run_worker()
            except OSError as error:
                _log.error("no worker could be started: %s", error)
            failures = 0 if time.monotonic() - started > _SETTLED else failures + 1
            if failures > 1 and not self._stopping:
                pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 10))
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret

    async def _run_worker(self) -> None:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                process = await self._spawn(theirs)
            reader, writer = await asyncio.open_unix_connection(sock=ours, limit=feed.LINE_LIMIT)
        except BaseException:
            ours.close()
            raise
        state = WorkerState(StreamPeer(writer))
        self._running[process] = state
        self._relay.join_worker(state)
        try:
            await self._listen(reader, state)
            await self._ended(process)
        finally:
            _kill(process)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            del self._running[process]
            self._relay.leave_worker(state)
            await process.wait()

    async def _spawn(self, channel: socket.socket) -> asyncio.subprocess.Process:
        plain, tls = (
            [item.fileno() for item in sockets] for sockets in (self._listeners.http, self._listeners.https)
        )
        settings = {
            "channel": channel.fileno(),
            "listeners": plain,
            "tls_listeners": tls,
            "https_port": self._listeners.https_port,
            "domain": self._options.default_domain,
            "trusted": self._options.trusted_proxies,
            "limits": dataclasses.asdict(self._options.limits),
        }
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "router.worker",
            json.dumps(settings),
            stdin=asyncio.subprocess.DEVNULL,
            pass_fds=(channel.fileno(), *plain, *tls),
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )

    async def _listen(self, reader: asyncio.StreamReader, state: WorkerState) -> None:
        try:
            while line := await reader.readline():
                self._relay.from_worker(state, line)
        except (FeedError, OSError, ValueError) as error:
            _log.error("a worker's stream broke: %s", error)

    async def _ended(self, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await process.wait()
        if not self._stopping:
            _log.error("worker %d ended with status %s", process.pid, process.returncode)


def _kill(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.kill()
