"""The invariants of the platform's state, as one list to read: each function yields a sentence for each violation.

`always` holds at any moment, whatever is under way; `settled` once nothing is under way any more. What they look at is
a `View`: the store, and what can be seen from outside of instances, routes, images and files.
"""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cygni.domain.formation import effective
from cygni.domain.models import App, Release, ReleaseStatus
from cygni.store import Store
from deployer.ports import Instance
from router.table import AppRoute

ALL = 1_000_000
WENT_LIVE = (ReleaseStatus.LIVE, ReleaseStatus.RETIRED)


@dataclass
class View:
    """The platform at one moment."""

    store: Store
    data: Path
    instances: Callable[[], Awaitable[Sequence[Instance]]]
    routes: Callable[[], Mapping[str, AppRoute]]
    has_image: Callable[[str], Awaitable[bool]]
    open_jobs: Callable[[], Awaitable[Sequence[tuple[str, str, str]]]]
    """`(app id, lane, status)` of every job that waits or runs."""
    releases_kept: int = 10
    secrets: Callable[[], Iterable[str]] = tuple
    """Every config value that was ever set."""
    is_sound: Callable[[Instance], bool] = lambda _: True
    """Whether its program can come up at all: a process type at 0 is not tried at a release, and may be broken."""
    gone: Callable[[], Iterable[str]] = tuple
    """Ids of the apps whose destruction was acknowledged."""
    one_offs: Callable[[], Sequence[str]] = tuple
    image_owners: Callable[[], Awaitable[Iterable[str]]] | None = None
    """Ids of the apps that images belong to."""


async def always(view: View) -> list[str]:
    """What must hold at any moment."""
    checks = (
        numbers_are_gapless,
        one_release_is_live,
        one_job_runs,
        kept_images_are_there,
        no_route_is_foreign,
    )
    return [text for check in checks async for text in check(view)]


async def settled(view: View) -> list[str]:
    """What must hold once nothing is under way; also what always holds."""
    checks = (
        nothing_is_half_done,
        exactly_what_is_desired_runs,
        routes_are_what_runs,
        values_are_sealed,
        the_gone_leave_nothing,
    )
    return await always(view) + [text for check in checks async for text in check(view)]


async def numbers_are_gapless(view: View) -> AsyncIterator[str]:
    """Release and build numbers of an app are 1, 2, 3, …"""
    for app in await view.store.apps.all():
        versions = [release.version for release in await view.store.releases.list(app.id, ALL)]
        if versions != list(range(len(versions), 0, -1)):
            yield f"{app.name}: releases are numbered {versions}"
        numbers = [build.number for build in await view.store.builds.list(app.id, ALL)]
        if numbers != list(range(len(numbers), 0, -1)):
            yield f"{app.name}: builds are numbered {numbers}"


async def one_release_is_live(view: View) -> AsyncIterator[str]:
    """At most one release of an app is live, and once one was, one is."""
    for app, releases in await _apps(view):
        live = [release.version for release in releases if release.status is ReleaseStatus.LIVE]
        if len(live) > 1 or (not live and any(release.status in WENT_LIVE for release in releases)):
            yield f"{app.name}: live are {live}"


async def one_job_runs(view: View) -> AsyncIterator[str]:
    """One build and one change of an app at a time."""
    running = Counter((app, lane) for app, lane, status in await view.open_jobs() if status == "running")
    for (app, lane), count in running.items():
        if count > 1:
            yield f"{app}: {count} jobs run in the {lane} lane"


async def kept_images_are_there(view: View) -> AsyncIterator[str]:
    """The image of a release that is live or can be rolled back to exists, and is not to be collected."""
    kept = await view.store.releases.kept_images(view.releases_kept)
    for app, releases in await _apps(view):
        if app.destroying:
            continue
        for release in _window(releases, view.releases_kept):
            if release.image not in kept:
                yield f"{app.name} v{release.version}: its image may be collected"
            if not await view.has_image(release.image) and await _is_kept(view, release):
                yield f"{app.name} v{release.version}: its image is gone"


async def no_route_is_foreign(view: View) -> AsyncIterator[str]:
    """No app's route leads to where an instance of another app accepts."""
    owners = {item.address: item.app_id for item in await view.instances() if item.address is not None}
    at = {(address.host, address.port): app_id for address, app_id in owners.items()}
    for app_id, route in view.routes().items():
        for target in route.targets:
            owner = at.get((target.host, target.port), app_id)
            if owner != app_id:
                yield f"{route.app}: {target.name} leads to an instance of {owner}"


async def nothing_is_half_done(view: View) -> AsyncIterator[str]:
    """No job waits or runs, every build has ended, no release is pending, no app is half destroyed."""
    for app_id, lane, status in await view.open_jobs():
        yield f"{app_id}: a job of the {lane} lane is {status}"
    for app, releases in await _apps(view):
        if app.destroying:
            yield f"{app.name}: half destroyed"
        for release in releases:
            if release.status is ReleaseStatus.PENDING:
                yield f"{app.name} v{release.version}: pending"
        for build in await view.store.builds.list(app.id, ALL):
            if not build.status.final:
                yield f"{app.name} build {build.number}: {build.status}"


async def exactly_what_is_desired_runs(view: View) -> AsyncIterator[str]:
    """Of each app the live release at its scale runs, each instance once, and nothing else does."""
    wanted = {
        (app.id, live.version, process, number)
        for app, live in await _live(view)
        for process, count in effective(live.processes, await view.store.formation.get(app.id)).items()
        for number in range(1, count + 1)
    }
    instances = await view.instances()
    found = Counter((item.app_id, item.release, item.process, item.number) for item in instances)
    for key in wanted - found.keys():
        yield f"{key} should run"
    held_up = _held_up(view, instances)
    for key, count in found.items():
        if key[0] not in held_up and (key not in wanted or count > 1):
            yield f"{key} is there {count} times and is {'wanted once' if key in wanted else 'not wanted'}"
    for item in instances:
        if item.state != "running" and view.is_sound(item):
            yield f"{item.app} v{item.release} {item.name} is {item.state}"
    for name in view.one_offs():
        yield f"one-off {name} is left"


async def routes_are_what_runs(view: View) -> AsyncIterator[str]:
    """A route's targets are the verified web instances of its app, all of them, where they are now."""
    instances = await view.instances()
    routes = view.routes()
    apps = {app.id for app in await view.store.apps.all()}
    for app_id in routes.keys() - apps:
        yield f"{routes[app_id].app}: a route without an app"
    held_up = _held_up(view, instances)
    for app, _ in await _live(view):
        if app.id in held_up:
            continue
        web = {
            (item.id, item.address.host, item.address.port)
            for item in instances
            if item.app_id == app.id and item.process == "web" and item.address is not None
        }
        route = routes.get(app.id)
        targets = (
            {(target.instance_id, target.host, target.port) for target in route.targets} if route else set()
        )
        if targets != web:
            yield f"{app.name}: its routes lead to {targets}, its web instances are {web}"
        if route is not None and (route.state != ("live" if web else "stopped") or route.app != app.name):
            yield f"{app.name}: its route is {route.state} and named {route.app}"


async def values_are_sealed(view: View) -> AsyncIterator[str]:
    """No config value is in any file of the state directory."""
    values = [value.encode() for value in view.secrets()]
    for path in sorted(view.data.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            for value in values:
                if value in data:
                    yield f"{path.relative_to(view.data)} holds the config value {value.decode()}"


async def the_gone_leave_nothing(view: View) -> AsyncIterator[str]:
    """An app whose destruction was acknowledged has no row, route, repository or log, and no app that is none an image."""
    if view.image_owners is not None:
        for app_id in set(await view.image_owners()) - {app.id for app in await view.store.apps.all()}:
            yield f"{app_id}: an image of an app that is gone"
    for app_id in view.gone():
        if await view.store.apps.by_id(app_id) is not None:
            yield f"{app_id}: destroyed, and in the database"
        if app_id in view.routes():
            yield f"{app_id}: destroyed, and routed"
        for path in (view.data / "repositories" / f"{app_id}.git", view.data / "logs" / app_id):
            if path.exists():
                yield f"{app_id}: destroyed, and {path.relative_to(view.data)} is there"


def _held_up(view: View, instances: Sequence[Instance]) -> set[str]:
    """Apps that have an instance which never comes up: what served before rightly goes on, and keeps its routes."""
    return {item.app_id for item in instances if not view.is_sound(item)}


async def _apps(view: View) -> list[tuple[App, list[Release]]]:
    store = view.store
    return [(app, await store.releases.list(app.id, ALL)) for app in await store.apps.all()]


async def _live(view: View) -> list[tuple[App, Release]]:
    found = [(app, await view.store.releases.live(app.id)) for app in await view.store.apps.all()]
    return [(app, live) for app, live in found if live is not None and not app.destroying]


async def _is_kept(view: View, release: Release) -> bool:
    """Look again: meanwhile newer ones may have moved the window, or the app may be on its way out."""
    app = await view.store.apps.by_id(release.app_id)
    releases = await view.store.releases.list(release.app_id, ALL)
    window = _window(releases, view.releases_kept)
    return app is not None and not app.destroying and release.id in {kept.id for kept in window}


def _window(releases: Sequence[Release], kept: int) -> list[Release]:
    """Those that went live, newest first, as far back as a rollback may go."""
    return [release for release in releases if release.status in WENT_LIVE][:kept]
