"""releases, releases:info, releases:output, releases:diff, rollback."""

import re
from typing import Annotated

from cygni import messages
from cygni.commands import texts
from cygni.commands.context import Context, ago, pairs
from cygni.commands.operation import follow
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import NotFoundError, UserError
from cygni.domain.models import App, Release, ReleaseStatus, Role
from cygni.operations import ROLLBACK

VERSION = re.compile(r"v?(\d{1,9})")
LOOK_BACK = 1000


@registry.command(
    "releases",
    "releases:list",
    offline=True,
    access=Role.VIEWER,
    examples=("releases -a shop", "releases -a shop -n 50 --json"),
)
async def releases(
    context: Context,
    app: App,
    *,
    number: Annotated[
        int, Flag("how many", short="-n", metavar="N", also=("--num",), least=1, most=LOOK_BACK)
    ] = 15,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """List an app's releases, newest first."""
    found = await context.services.store.releases.list(app.id, number)
    if json:
        await context.print_json([_facts(release) for release in found])
        return
    live = await context.services.store.releases.live(app.id)
    current = f"v{live.version}" if live else "none"
    rows = [(f"v{r.version}", r.status, r.reason, r.author, ago(r.created_at)) for r in found]
    await context.print(context.view.heading(f"=== {app.name} Releases - Current: {current}"), "")
    await context.print_table(("VERSION", "STATUS", "REASON", "BY", "CREATED"), rows)


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
    shown = [(name, str(value)) for name, value in facts.items() if value is not None and name != "version"]
    await context.print_facts(f"{app.name} v{release.version}", shown)


@registry.command("releases:output", access=Role.VIEWER, examples=("releases:output -a shop v7",))
async def output(
    context: Context,
    app: App,
    version: Annotated[str | None, Argument("vN", "the newest unless given")] = None,
) -> None:
    """Print what was said while a release was made: build, release command, start of its processes."""
    release = await _find(context, app, version, newest=True)
    text = await context.services.build_logs.read(release.output_id) if release.output_id else ""
    if not text:
        raise NotFoundError(texts.no_output(app.name, release.version))
    await context.ends.out(text.encode())


@registry.command(
    "releases:diff",
    offline=True,
    access=Role.VIEWER,
    examples=("releases:diff -a shop v6 v7", "releases:diff -a shop v6"),
)
async def diff(
    context: Context,
    app: App,
    older: Annotated[str, Argument("vN", "the one to compare with")],
    newer: Annotated[str | None, Argument("vM", "the current one unless given")] = None,
    *,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """Show what differs between two releases: commit, image, processes, names of config vars."""
    before, after = await _find(context, app, older), await _find(context, app, newer)
    facts = _difference(before, after)
    if json:
        await context.print_json({"from": before.version, "to": after.version} | facts)
        return
    shown = [(name, _told(value)) for name, value in facts.items() if value]
    await context.print(context.view.heading(f"=== {app.name} v{before.version} to v{after.version}"), "")
    await context.print(*(pairs(shown) or ["no difference"]))


def _difference(before: Release, after: Release) -> dict[str, object]:
    old = {process.name: list(process.command) for process in before.processes}
    new = {process.name: list(process.command) for process in after.processes}
    return {
        "commit": [before.commit, after.commit] if before.commit != after.commit else None,
        "image": [before.image, after.image] if before.image != after.image else None,
        "processes_added": sorted(new.keys() - old.keys()),
        "processes_removed": sorted(old.keys() - new.keys()),
        "processes_changed": sorted(name for name in new.keys() & old.keys() if new[name] != old[name]),
        "config_added": sorted(after.config.keys() - before.config.keys()),
        "config_removed": sorted(before.config.keys() - after.config.keys()),
        "config_changed": sorted(
            name
            for name in after.config.keys() & before.config.keys()
            if after.config[name] != before.config[name]
        ),
    }


def _told(value: object) -> str:
    assert isinstance(value, list)
    if len(value) == 2 and all(len(item) >= 40 for item in value):
        return " to ".join(item.removeprefix("sha256:")[:12] for item in value)
    return ", ".join(value)


async def _find(context: Context, app: App, version: str | None, *, newest: bool = False) -> Release:
    store = context.services.store
    if version is None:
        release = await (store.releases.latest(app.id) if newest else store.releases.live(app.id))
        if release is None:
            raise NotFoundError(messages.no_release(app))
        return release
    number = version_number(version)
    release = await store.releases.get(app.id, number)
    if release is None:
        raise NotFoundError(messages.no_such_release(app, number))
    return release


def version_number(text: str) -> int:
    """Read `v7` or `7`.

    Raises:
        UserError: it is neither.
    """
    match = VERSION.fullmatch(text)
    if match is None:
        raise UserError(texts.bad_version(text))
    return int(match[1])


@registry.command(
    "rollback",
    "releases:rollback",
    alters=True,
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
    live = await context.services.store.releases.live(app.id)
    await context.note(f"to v{target.version}")
    operation = await context.services.operations.start(
        app, ROLLBACK, context.user.name, {"version": str(target.version)}
    )
    result = await follow(context, operation)
    await context.tell(f"Rolling back {app.name} to v{target.version}... done, {result}")
    await context.tell(*texts.rolled_back(app.name, live.version if live else None))


async def _target(context: Context, app: App, version: str | None) -> Release:
    if version is not None:
        target = await _find(context, app, version)
    else:
        found = await context.services.store.releases.list(app.id, LOOK_BACK)
        earlier = [release for release in found if release.status is ReleaseStatus.RETIRED]
        if not earlier:
            raise NotFoundError(messages.nothing_to_roll_back(app))
        target = earlier[0]
    if target.status is ReleaseStatus.LIVE:
        raise UserError(texts.is_current(app.name, target.version))
    if target.status is not ReleaseStatus.RETIRED:
        raise UserError(messages.cannot_roll_back(target.version))
    return target
