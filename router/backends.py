"""What a worker knows of instances while it runs: connections, requests in flight, ejections."""

import asyncio
import json
import random
from collections.abc import Callable, Collection
from typing import Protocol

from router.options import Limits
from router.ports import Tunnel
from router.table import AppRoute, Table, Target
from router.upstream import UpstreamConnection
from router.waiting import WaitingRoom


def in_json(text: str) -> bytes:
    """Return a text as it stands between the quotes of a JSON string."""
    return json.dumps(text)[1:-1].encode()


class Dialer(Protocol):
    """The exchange that waits for a connection."""

    def connected(self, connection: UpstreamConnection) -> bool:
        """Take the connection; False when it is not wanted any more."""
        ...

    def connect_failed(self, error: Exception) -> None:
        """No connection within the limit."""


class Backend:
    """One target: its idle connections, the requests in flight to it, whether it refuses connections."""

    def __init__(self, app_id: str, target: Target, limits: Limits, loop: asyncio.AbstractEventLoop) -> None:
        """Nothing is connected yet."""
        self.app_id = app_id
        self.target = target
        self.name = in_json(target.name)
        self.in_flight = 0
        self.room = WaitingRoom(limits.queue_requests)
        """Where requests wait while as many are in flight as the instance may have."""
        self.ejected_until = 0.0
        self.retired = False
        self.tunnels: set[Tunnel] = set()
        self._limits = limits
        self._loop = loop
        self._idle: list[UpstreamConnection] = []
        self._failures = 0
        self._dials: set[asyncio.Task[None]] = set()
        self._watchers: list[Callable[[], None]] = []

    @property
    def full(self) -> bool:
        """Whether it works on as many requests as it may; upgraded connections do not count."""
        return self.in_flight - len(self.tunnels) >= self._limits.instance_requests

    def take(self, now: float, longest: float) -> UpstreamConnection | None:
        """Return the most recently used idle connection if it is no older than `longest` seconds."""
        while self._idle:
            connection = self._idle.pop()
            if connection.closed:
                continue
            if now - connection.idle_since <= longest:
                return connection
            self._idle.append(connection)
            break
        return None

    def dial(self, dialer: Dialer) -> None:
        """Open a connection; the dialer is told, never the caller."""
        task = self._loop.create_task(self._dial(dialer))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    def keep(self, connection: UpstreamConnection, now: float) -> None:
        """Take back a connection after a complete answer."""
        connection.release(now)
        if self.retired or len(self._idle) >= self._limits.upstream_pool or not connection.usable:
            connection.close()
        else:
            self._idle.append(connection)

    def done(self) -> None:
        """One request fewer is in flight."""
        self.in_flight -= 1
        while self.room and not self.full:  # who is resumed may go to another instance
            self.room.resume_next()
        if self.in_flight == 0 and self._watchers:
            watchers, self._watchers = self._watchers, []
            for watcher in watchers:
                watcher()

    def watch(self, drained: Callable[[], None]) -> None:
        """Call `drained` once nothing is in flight."""
        if self.in_flight == 0:
            drained()
        else:
            self._watchers.append(drained)

    def eject(self, now: float) -> float:
        """Leave the instance alone for a while after it refused a connection; returns the seconds."""
        longest = min(self._limits.eject_longest, self._limits.eject * 2.0 ** min(self._failures, 10))
        self._failures += 1
        pause = longest * random.uniform(0.5, 1)  # noqa: S311 - jitter, not a secret
        self.ejected_until = now + pause
        return pause

    def retire(self) -> None:
        """The table no longer has this target: no new requests, upgraded connections cut after their limit."""
        self.retired = True
        self.close_idle()
        self.room.resume_all()
        if self.tunnels:
            self._loop.call_later(self._limits.tunnel_drain, self.cut_tunnels)

    def add_tunnel(self, tunnel: Tunnel) -> None:
        """Count an upgraded connection, which may begin on a target that just left the table."""
        self.tunnels.add(tunnel)
        if self.retired:
            self._loop.call_later(self._limits.tunnel_drain, self.cut_tunnels)

    def cut_tunnels(self) -> None:
        """Close every upgraded connection."""
        for tunnel in list(self.tunnels):
            tunnel.cut()

    def close_idle(self, unused_since: float = float("inf")) -> None:
        """Close connections that have been idle since before then; all by default."""
        stale = [connection for connection in self._idle if connection.idle_since < unused_since]
        self._idle = [connection for connection in self._idle if connection.idle_since >= unused_since]
        for connection in stale:
            connection.finish()

    def stop(self) -> None:
        """Give up connections being opened and close idle ones."""
        for task in self._dials:
            task.cancel()
        self.close_idle()

    async def _dial(self, dialer: Dialer) -> None:
        try:
            async with asyncio.timeout(self._limits.connect):
                _, connection = await self._loop.create_connection(
                    lambda: UpstreamConnection(self._limits), self.target.host, self.target.port
                )
        except (OSError, TimeoutError) as error:
            dialer.connect_failed(error)
        else:
            self._failures, self.ejected_until = 0, 0.0
            if not dialer.connected(connection):
                self.keep(connection, self._loop.time())


class Site:
    """One app's route with its live backends."""

    __slots__ = ("app_id", "backends", "route")

    def __init__(self, route: AppRoute, backends: list[Backend]) -> None:
        self.route = route
        self.app_id = in_json(route.app_id)
        self.backends = backends

    def choose(self, now: float, tried: Collection[Backend]) -> Backend | None:
        """Pick the less busy of two, ejected ones last; None when all have been tried."""
        candidates = self.backends
        if len(candidates) == 1 and not tried:
            return candidates[0]
        if candidates:
            untried = [backend for backend in candidates if backend not in tried]
            candidates = [backend for backend in untried if backend.ejected_until <= now] or untried
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        first, second = random.sample(candidates, 2)
        chosen = first if first.in_flight <= second.in_flight else second
        return min(candidates, key=_load) if chosen.full else chosen


def _load(backend: Backend) -> int:
    return backend.in_flight


class Routing:
    """A table with its sites: what a worker swaps in one assignment."""

    __slots__ = ("_known", "sites", "table")

    _KNOWN_LIMIT = 10_000

    def __init__(self, table: Table, sites: dict[str, Site]) -> None:
        self.table = table
        self.sites = sites
        self._known: dict[bytes, Site] = {}

    def find(self, host: bytes) -> Site | None:
        """Find the site of a Host header; spellings that were found are remembered, up to a bound."""
        site = self._known.get(host)
        if site is not None:
            return site
        route = self.table.lookup(host.decode("ascii")) if host else None
        if route is None:
            return None
        site = self.sites[route.app_id]
        if len(self._known) < self._KNOWN_LIMIT:
            self._known[host] = site
        return site
