"""A release and the app's formation as a manifest, the deployer's word for what should run."""

from collections.abc import Callable, Mapping
from dataclasses import replace

from config import Settings
from cygni.domain.formation import effective
from cygni.domain.models import App, Lane, ProcessLimits, Release
from cygni.store import Store
from deployer.manifest import Health, Manifest, Process, Resources

HTTP_PORT = 80


class Manifests:
    """Makes manifests; the only place where config values meet an engine's words."""

    def __init__(self, settings: Settings, store: Store, http_port: Callable[[], int]) -> None:
        self._settings = settings
        self._store = store
        self._http_port = http_port

    async def of(self, app: App, release: Release, *, release_phase: bool = True) -> Manifest:
        """Return what should run for this release at the app's present scale."""
        formation = await self._store.formation.get(app.id)
        limits = await self._store.limits.get(app.id)
        manifest = self.make(app, release, formation, limits)
        return manifest if release_phase else replace(manifest, release_command=None)

    def make(
        self,
        app: App,
        release: Release,
        formation: Mapping[str, int],
        limits: Mapping[str, ProcessLimits],
    ) -> Manifest:
        """Pure: the manifest of these values."""
        quantities = effective(release.processes, formation)
        return Manifest(
            app_id=app.id,
            app=app.name,
            release=release.version,
            image=release.image,
            processes=tuple(
                Process(p.name, p.command, quantities[p.name], resources(limits.get(p.name)))
                for p in release.processes
            ),
            env=release.config,
            health=Health(
                path=app.health.path,
                boot_timeout=app.health.boot_timeout,
                probe_timeout=app.health.probe_timeout,
                host=self.host(app),
            ),
            release_command=release.release_command,
            drain_timeout=self._settings.drain_timeout,
            port=next((p.port for p in release.processes if p.port), app.port),
            commit=release.commit,
        )

    def url(self, app: App) -> str:
        """Where the app answers, with the port unless it is HTTP's own."""
        port = self._http_port()
        return f"http://{self.host(app)}{'' if port == HTTP_PORT else f':{port}'}/"

    def host(self, app: App) -> str:
        """The app's host name."""
        return f"{app.name}.{self._settings.domain}"


def resources(limits: ProcessLimits | None) -> Resources:
    """Limits as the deployer's word for them; what nobody limited is the default."""
    default = Resources()
    if limits is None:
        return default
    return replace(default, memory_bytes=limits.memory or default.memory_bytes, cpus=limits.cpus)


class Desired:
    """Implements the reconciler's DesiredState on the store; `retiring` says which apps still drain."""

    def __init__(self, store: Store, manifests: Manifests, retiring: Callable[[str], bool]) -> None:
        self._store = store
        self._manifests = manifests
        self._retiring = retiring

    async def apps(self) -> list[str]:
        """Ids of the apps that have a live release."""
        return [release.app_id for release in await self._store.releases.all_live()]

    async def live(self, app_id: str) -> Manifest | None:
        """Return the live release's manifest, None when nothing of the app should run."""
        app = await self._store.apps.by_id(app_id)
        if app is None or app.destroying:
            return None
        release = await self._store.releases.live(app_id)
        return await self._manifests.of(app, release) if release else None

    async def busy(self, app_id: str) -> bool:
        """Whether the app's deploy lane is taken, or what it did last is still being cleared away.

        Asked in this order: clearing away begins before the lane is free.
        """
        return await self._store.jobs.running(app_id, Lane.DEPLOY) is not None or self._retiring(app_id)
