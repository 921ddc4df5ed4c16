"""builds, builds:info, builds:output, builds:cancel."""

from datetime import UTC, datetime
from typing import Annotated

from cygni import messages
from cygni.commands.context import Context, ago, pairs, table
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, Build, Role


@registry.command("builds", "builds:list", offline=True, access=Role.VIEWER)
async def builds(
    context: Context,
    app: App,
    *,
    number: Annotated[int, Flag("how many", short="-n", metavar="N")] = 15,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """List an app's builds, newest first."""
    found = await context.services.store.builds.list(app.id, number)
    if json:
        await context.print_json([_facts(build) for build in found])
        return
    rows = [
        (str(b.number), b.status, b.commit[:7], _duration(b), b.author, ago(b.created_at), b.failure or "")
        for b in found
    ]
    await context.print(*table(("BUILD", "STATUS", "COMMIT", "TIME", "BY", "CREATED", "CAUSE"), rows))


def _facts(build: Build) -> dict[str, object]:
    return {
        "number": build.number,
        "status": build.status,
        "commit": build.commit,
        "ref": build.ref,
        "author": build.author,
        "provider": build.provider,
        "image": build.image,
        "failure": build.failure,
        "failure_id": build.failure_id,
        "created_at": build.created_at,
        "started_at": build.started_at,
        "finished_at": build.finished_at,
    }


def _duration(build: Build) -> str:
    if build.started_at is None:
        return "-"
    return f"{((build.finished_at or datetime.now(UTC)) - build.started_at).total_seconds():.1f}s"


@registry.command("builds:info", offline=True, access=Role.VIEWER)
async def info(
    context: Context,
    app: App,
    number: Annotated[int | None, Argument("N", "the newest unless given")] = None,
    *,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """Show one build: commit, status, duration, cause of failure, image."""
    build = await _find(context, app, number)
    if json:
        await context.print_json(_facts(build))
        return
    facts = _facts(build) | {"duration": _duration(build)}
    shown = ((name, str(value)) for name, value in facts.items() if value is not None and name != "number")
    await context.print(f"=== {app.name} build {build.number}", "", *pairs(shown))


async def _find(context: Context, app: App, number: int | None) -> Build:
    store = context.services.store
    if number is not None:
        build = await store.builds.by_number(app.id, number)
        if build is None:
            raise NotFoundError(messages.no_such_build(app.name, number))
        return build
    newest = await store.builds.list(app.id, 1)
    if not newest:
        raise NotFoundError(messages.no_builds(app.name))
    return newest[0]


@registry.command("builds:output", access=Role.VIEWER, examples=("builds:output -a shop 12 -t",))
async def output(
    context: Context,
    app: App,
    number: Annotated[int | None, Argument("N", "the newest unless given")] = None,
    *,
    tail: Annotated[bool, Flag("go on until the build has ended", short="-t")] = False,
) -> None:
    """Print what a build said."""
    build = await _find(context, app, number)
    logs = context.services.build_logs
    if tail:
        await context.follow(logs.follow(build.id), context.print)
    else:
        await context.ends.out((await logs.read(build.id)).encode())


@registry.command("builds:cancel", access=Role.DEPLOYER)
async def cancel(
    context: Context, app: App, number: Annotated[int | None, Argument("N", "the newest unless given")] = None
) -> None:
    """Stop a build that waits or runs."""
    build = await _find(context, app, number)
    if build.status.final or not await context.services.builds.cancel(build, context.user.name):
        raise ConflictError(messages.build_has_ended(app.name, build.number, build.status))
    await context.services.store.events.record(context.user.name, "builds:cancel", app.id, str(build.number))
    await context.tell(f"Cancelling build {build.number} of {app.name}... done")
