"""What a worker's connections share: the routing in force, held requests, drains, time limits."""

import asyncio
import time
from collections.abc import Callable, Iterable
from functools import partial

from router import feed
from router.access import AccessLog
from router.backends import Backend, Routing, Site
from router.forward import Network, RequestIds, Sender
from router.metrics import Meter
from router.options import Limits
from router.ports import Timed
from router.table import AppRoute, Certificate, Table
from router.tls import Certificates
from router.waiting import WaitingRoom

IDLE_GRACE = 1.0
"""How long a stopping worker waits for one more request on a connection that was not told to end."""
_WAKE_EVERY = 1.0
_REPORT_EVERY = 1.0


class Gateway:
    """One worker's state. `send` takes an encoded message for the parent; False when there is no room."""

    def __init__(
        self,
        limits: Limits,
        domain: str,
        trusted: tuple[Network, ...],
        https_port: int,
        send: Callable[[bytes], bool],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Start with an empty table."""
        self.limits = limits
        self.domain = domain
        self.trusted = trusted
        self.https_port = https_port
        """Where clients reach us encrypted; 0 for nowhere."""
        self.loop = loop
        self.access = AccessLog(limits, send, loop)
        self.meter = Meter(send)
        self.certificates = Certificates()
        self.request_ids = RequestIds()
        self.routing = Routing(Table(), {})
        self.draining = False
        self.clients: set[Timed] = set()
        self._addresses: dict[bytes, int] = {}
        self._send = send
        self._held: dict[str, WaitingRoom] = {}
        self._woken: dict[str, float] = {}
        self._retired: set[Backend] = set()
        self._empty = asyncio.Event()
        self._reported = 0.0

    def replace(self, table: Table) -> None:
        """Put a whole table in force."""
        self._install(table, {route.app_id: self._site(route) for route in table.routes.values()})

    def change(self, version: int, route: AppRoute) -> None:
        """Put one app's route in force."""
        table = self.routing.table.with_route(route, version)
        self._install(table, {**self.routing.sites, route.app_id: self._site(route)})

    def remove(self, version: int, app_id: str) -> None:
        """Take one app out."""
        sites = {key: site for key, site in self.routing.sites.items() if key != app_id}
        self._install(self.routing.table.without(app_id, version), sites)

    def certify(self, version: int, certificate: Certificate) -> None:
        """Show a certificate to clients that ask for its hosts."""
        self._install(self.routing.table.with_certificate(certificate, version), self.routing.sites)

    def uncertify(self, version: int, name: str) -> None:
        """Show a certificate no longer."""
        self._install(self.routing.table.without_certificate(name, version), self.routing.sites)

    def when_drained(self, app_id: str, instance_ids: Iterable[str], drained: Callable[[], None]) -> None:
        """Call `drained` once nothing is in flight to these instances."""
        wanted = frozenset(instance_ids)
        site = self.routing.sites.get(app_id)
        candidates = [*self._retired, *(site.backends if site is not None else ())]
        busy = {
            backend
            for backend in candidates
            if backend.app_id == app_id and backend.target.instance_id in wanted and backend.in_flight
        }
        if not busy:
            drained()
        for backend in list(busy):
            backend.watch(partial(_strike, busy, backend, drained))

    def hold(self, app_id: str) -> WaitingRoom:
        """Return where requests wait until their app's route changes; the control plane is told that one does."""
        room = self._held.get(app_id)
        if room is None:
            room = self._held[app_id] = WaitingRoom(self.limits.hold_requests)
        now = self.loop.time()
        if now - self._woken.get(app_id, -_WAKE_EVERY) >= _WAKE_EVERY:
            self._woken[app_id] = now
            self._send(feed.encode(feed.Wake(app_id, time.time())))
        return room

    def eject(self, backend: Backend, reason: str) -> None:
        """An instance refused a connection: leave it alone for a while, and say so."""
        now = self.loop.time()
        if backend.ejected_until > now:
            return
        seconds = round(backend.eject(now), 3)
        event = feed.Ejected(backend.app_id, backend.target.instance_id, reason, seconds, time.time())
        self._send(feed.encode(event))

    def sweep(self) -> None:
        """Enforce deadlines of clients and idle connections; called every `limits.sweep` seconds."""
        now = self.loop.time()
        for client in [client for client in self.clients if client.deadline <= now]:
            client.expired(now)
        for site in self.routing.sites.values():
            for backend in site.backends:
                backend.close_idle(now - self.limits.upstream_idle)
        if now - self._reported >= _REPORT_EVERY:
            self._reported = now
            self.report()

    def report(self) -> None:
        """Tell the parent what was counted."""
        in_flight = sum(backend.in_flight for backend in self._backends())
        held = sum(map(len, self._held.values())) + sum(len(backend.room) for backend in self._backends())
        self.meter.report({"connections": len(self.clients), "in_flight": in_flight, "held": held})

    def admit(self, client: Timed, sender: Sender) -> bool:
        """Take a new client connection; False when there are too many, or too many from its address."""
        count = self._addresses.get(sender.address, 0)
        most = self.limits.connections if sender.trusted else self.limits.address_connections
        if count >= most or len(self.clients) >= self.limits.connections:
            return False
        self._addresses[sender.address] = count + 1
        self.clients.add(client)
        return True

    def left(self, client: Timed, sender: Sender) -> None:
        """A client connection that was admitted has ended."""
        self.clients.discard(client)
        count = self._addresses.pop(sender.address) - 1
        if count:
            self._addresses[sender.address] = count
        if self.draining and not self.clients:
            self._empty.set()

    async def drain(self) -> None:
        """Finish what runs within `limits.drain` seconds, then cut what is left."""
        self.draining = True
        now = self.loop.time()
        for client in list(self.clients):
            client.drain(now, IDLE_GRACE)
        self.loop.call_later(self.limits.tunnel_drain, self._cut_tunnels)
        try:
            async with asyncio.timeout(self.limits.drain):
                if self.clients:
                    await self._empty.wait()
        except TimeoutError:
            for client in list(self.clients):
                client.abort()
        for backend in self._backends():
            backend.stop()
        self.access.flush()
        self.access.tell()
        self.report()

    def _install(self, table: Table, sites: dict[str, Site]) -> None:
        """The swap: one assignment; then what is no longer in force is retired and waiting requests go on."""
        before, self.routing = self.routing, Routing(table, sites)
        if table.certificates is not before.table.certificates:
            self.certificates.install(table.certificates)
        for app_id, site in before.sites.items():
            now = sites.get(app_id)
            if now is not site:
                self._retire(site, now)
        for app_id in [app_id for app_id in self._held if not self._on_hold(app_id)]:
            self._woken.pop(app_id, None)
            self._held.pop(app_id).resume_all()

    def _on_hold(self, app_id: str) -> bool:
        site = self.routing.sites.get(app_id)
        return site is not None and site.route.state == "hold"

    def _site(self, route: AppRoute) -> Site:
        """Make an app's site; targets that stay keep their connections. An unchanged route keeps its site."""
        known = self.routing.sites.get(route.app_id)
        if known is not None and known.route == route:
            return known
        kept = {backend.target: backend for backend in known.backends} if known is not None else {}
        return Site(
            route,
            [
                kept.get(target) or Backend(route.app_id, target, self.limits, self.loop)
                for target in dict.fromkeys(route.targets)
            ],
        )

    def _retire(self, old: Site, new: Site | None) -> None:
        kept = set(new.backends) if new is not None else set()
        for backend in old.backends:
            if backend in kept:
                continue
            backend.retire()
            if backend.in_flight:
                self._retired.add(backend)
                backend.watch(partial(self._retired.discard, backend))

    def _backends(self) -> list[Backend]:
        return [
            *self._retired,
            *(backend for site in self.routing.sites.values() for backend in site.backends),
        ]

    def _cut_tunnels(self) -> None:
        for backend in self._backends():
            backend.cut_tunnels()


def _strike(busy: set[Backend], backend: Backend, drained: Callable[[], None]) -> None:
    busy.discard(backend)
    if not busy:
        drained()
