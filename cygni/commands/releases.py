"""releases, releases:info, rollback."""

import re
from typing import Annotated

from cygni import messages
from cygni.commands.context import Context, ago, pairs, table
from cygni.commands.operation import follow
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import NotFoundError, UserError
from cygni.domain.models import App, Release, ReleaseStatus, Role
from cygni.operations import ROLLBACK

VERSION = re.compile(r"v?(\d{1,9})")


@registry.command("releases", "releases:list", offline=True, access=Role.VIEWER)
async def releases(
    context: Context,
    app: App,
    *,
    number: Annotated[int, Flag("how many", short="-n", metavar="N")] = 15,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """List an app's releases, newest first."""
    found = await context.services.store.releases.list(app.id, number)
    if json:
        await context.print_json([_facts(release) for release in found])
        return
    live = next((f"v{r.version}" for r in found if r.status is ReleaseStatus.LIVE), "none")
    rows = [(f"v{r.version}", r.status, r.reason, r.author, ago(r.created_at)) for r in found]
    await context.print(f"=== {app.name} Releases - Current: {live}", "")
    await context.print(*table(("VERSION", "STATUS", "REASON", "BY", "CREATED"), rows))


def _facts(release: Release) -> dict[str, object]:
    return {
        "version": release.version,
        "status": release.status,
        "reason": release.reason,
        "author": release.author,
        "commit": release.commit,
        "image": release.image,
        "processes": {process.name: list(process.command) for process in release.processes},
        "config": sorted(release.config),
        "failure": release.failure,
        "created_at": release.created_at,
    }


@registry.command("releases:info", offline=True, access=Role.VIEWER, examples=("releases:info -a shop v7",))
async def info(
    context: Context,
    app: App,
    version: Annotated[str | None, Argument("vN", "the current one unless given")] = None,
    *,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """Show one release: image, commit, processes, names of its config vars."""
    release = await _find(context, app, version)
    facts = _facts(release)
    if json:
        await context.print_json(facts)
        return
    facts["processes"] = ", ".join(process.name for process in release.processes)
    facts["config"] = ", ".join(sorted(release.config)) or "-"
    facts["created_at"] = ago(release.created_at)
    shown = ((name, str(value)) for name, value in facts.items() if value is not None and name != "version")
    await context.print(f"=== {app.name} v{release.version}", "", *pairs(shown))


async def _find(context: Context, app: App, version: str | None) -> Release:
    store = context.services.store
    if version is None:
        release = await store.releases.live(app.id)
        if release is None:
            raise NotFoundError(messages.no_release(app))
        return release
    number = version_number(version)
    release = await store.releases.get(app.id, number)
    if release is None:
        raise NotFoundError(messages.no_such_release(app, number))
    return release


def version_number(text: str) -> int:
    """Read `v7` or `7`."""
    match = VERSION.fullmatch(text)
    if match is None:
        raise UserError(f"{text!r} is no release. Write it as v7.")
    return int(match[1])


@registry.command(
    "rollback",
    "releases:rollback",
    access=Role.DEPLOYER,
    examples=("rollback -a shop", "rollback -a shop v7"),
)
async def rollback(
    context: Context,
    app: App,
    version: Annotated[str | None, Argument("vN", "the one before unless given")] = None,
) -> None:
    """Go back to an earlier release's code and config, as a new release."""
    target = await _target(context, app, version)
    await context.services.store.events.record(context.user.name, ROLLBACK, app.id, f"v{target.version}")
    operation = await context.services.operations.start(
        app, ROLLBACK, context.user.name, {"version": str(target.version)}
    )
    result = await follow(context, operation)
    await context.tell(f"Rolling back {app.name} to v{target.version}... done, {result}")


async def _target(context: Context, app: App, version: str | None) -> Release:
    if version is not None:
        target = await _find(context, app, version)
    else:
        found = await context.services.store.releases.list(app.id, 100)
        earlier = [release for release in found if release.status is ReleaseStatus.RETIRED]
        if not earlier:
            raise NotFoundError(messages.nothing_to_roll_back(app))
        target = earlier[0]
    if target.status is not ReleaseStatus.RETIRED:
        raise UserError(messages.cannot_roll_back(target.version))
    return target
