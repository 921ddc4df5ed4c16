"""The route table: frozen values, exact host look-up in constant time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

RouteState = Literal["live", "hold", "stopped", "none"]
"""live: requests go to the targets. hold: they wait. stopped: no web process. none: no release yet."""


@dataclass(frozen=True, slots=True)
class Target:
    """A verified instance that may receive requests."""

    instance_id: str
    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class AppRoute:
    """Where one app's requests go. A host is `shop.example.com` or `*.example.com`."""

    app_id: str
    app: str
    hosts: tuple[str, ...]
    targets: tuple[Target, ...] = ()
    state: RouteState = "live"
    https_only: bool = False
    """Whether requests that come unencrypted are sent to the encrypted address."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate chain with its key, as PEM, and the hosts it is shown for: names, `*.names`, or `*` for any."""

    name: str
    hosts: tuple[str, ...]
    chain: str
    key: str = field(repr=False)


def canonical_host(host: str) -> str:
    """Return a Host header's name as the table spells it: no port, lower case, no trailing dot."""
    name = host.strip().lower()
    if name.startswith("["):
        return name.partition("]")[0] + "]"
    return name.partition(":")[0].removesuffix(".")


class Table:
    """All routes and certificates at one version. Never changed: `with_…` and `without…` return the next table."""

    __slots__ = ("_index", "certificates", "routes", "version")

    def __init__(
        self,
        version: int = 0,
        routes: Iterable[AppRoute] = (),
        index: dict[str, str] | None = None,
        certificates: Mapping[str, Certificate] = MappingProxyType({}),
    ) -> None:
        """Take `routes` and, where it is known already, the index from host to app id."""
        self.certificates = certificates
        self.version = version
        self.routes: Mapping[str, AppRoute] = MappingProxyType({route.app_id: route for route in routes})
        self._index = _index(self.routes.values()) if index is None else index

    def with_route(self, route: AppRoute, version: int) -> "Table":
        """Return the table with this app's route set. The index is shared when its hosts stay the same."""
        known = self.routes.get(route.app_id)
        same_hosts = known is not None and known.hosts == route.hosts
        routes = {**self.routes, route.app_id: route}
        return Table(version, routes.values(), self._index if same_hosts else None, self.certificates)

    def without(self, app_id: str, version: int) -> "Table":
        """Return the table without this app."""
        routes = (route for route in self.routes.values() if route.app_id != app_id)
        return Table(version, routes, None, self.certificates)

    def with_certificate(self, certificate: Certificate, version: int) -> "Table":
        """Return the table with this certificate set."""
        certificates = {**self.certificates, certificate.name: certificate}
        return Table(version, self.routes.values(), self._index, certificates)

    def without_certificate(self, name: str, version: int) -> "Table":
        """Return the table without this certificate."""
        certificates = {key: item for key, item in self.certificates.items() if key != name}
        return Table(version, self.routes.values(), self._index, certificates)

    def lookup(self, host: str) -> AppRoute | None:
        """Find the app of a Host header: its exact name first, then the wildcard one label up."""
        name = canonical_host(host)
        app_id = self._index.get(name)
        if app_id is None:
            _, dot, parent = name.partition(".")
            app_id = self._index.get(f"*.{parent}") if dot else None
        return None if app_id is None else self.routes[app_id]


def _index(routes: Iterable[AppRoute]) -> dict[str, str]:
    """Map hosts to app ids; of two apps that claim a host the first one keeps it."""
    index: dict[str, str] = {}
    for route in routes:
        for host in route.hosts:
            index.setdefault(canonical_host(host), route.app_id)
    return index
