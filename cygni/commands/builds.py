"""builds, builds:info, builds:output, builds:cancel, builds:rebuild, builds:explain."""

import asyncio
from datetime import UTC, datetime
from typing import Annotated

from cygni import messages
from cygni.commands import texts
from cygni.commands.context import Context, ago
from cygni.commands.operation import follow
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, Build, Role
from cygni.explain import explain_commit
from cygni.operations import Operation

LOOK_BACK = 1000
BRANCHES = ("main", "master")

Number = Annotated[int | None, Argument("N", "the newest unless given")]


@registry.command(
    "builds",
    "builds:list",
    offline=True,
    access=Role.VIEWER,
    examples=("builds -a shop", "builds -a shop -n 3"),
)
async def builds(
    context: Context,
    app: App,
    *,
    number: Annotated[
        int, Flag("how many", short="-n", metavar="N", also=("--num",), least=1, most=LOOK_BACK)
    ] = 15,
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
    await context.print_table(("BUILD", "STATUS", "COMMIT", "TIME", "BY", "CREATED", "CAUSE"), rows)


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


@registry.command("builds:info", offline=True, access=Role.VIEWER, examples=("builds:info -a shop 12",))
async def info(
    context: Context,
    app: App,
    number: Number = None,
    *,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """Show one build: commit, status, duration, cause of failure, image."""
    build = await _find(context, app, number)
    if json:
        await context.print_json(_facts(build))
        return
    moments = {name: ago(value) for name, value in _facts(build).items() if isinstance(value, datetime)}
    facts = _facts(build) | moments | {"duration": _duration(build)}
    shown = [(name, str(value)) for name, value in facts.items() if value is not None and name != "number"]
    await context.print_facts(f"{app.name} build {build.number}", shown)


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
    number: Number = None,
    *,
    tail: Annotated[bool, Flag("go on until the build has ended", short="-t", also=("-f",))] = False,
) -> None:
    """Print what a build said."""
    build = await _find(context, app, number)
    logs = context.services.build_logs
    if tail:
        await context.follow(logs.follow(build.id), context.print)
    else:
        await context.ends.out((await logs.read(build.id)).encode())


@registry.command("builds:cancel", audited=True, access=Role.DEPLOYER, examples=("builds:cancel -a shop",))
async def cancel(context: Context, app: App, number: Number = None) -> None:
    """Stop a build that waits or runs."""
    build = await _find(context, app, number)
    await context.note(f"build {build.number}")
    if build.status.final or not await context.services.builds.cancel(build, context.user.name):
        raise ConflictError(messages.build_has_ended(app.name, build.number, build.status))
    await context.tell(f"Cancelling build {build.number} of {app.name}... done")


@registry.command(
    "builds:rebuild",
    "ps:rebuild",
    "rebuild",
    alters=True,
    access=Role.DEPLOYER,
    examples=("builds:rebuild -a shop", "builds:rebuild -a shop 12 --no-cache"),
)
async def rebuild(
    context: Context,
    app: App,
    number: Annotated[
        int | None, Argument("N", "build this one's commit instead of what was pushed last")
    ] = None,
    *,
    no_cache: Annotated[bool, Flag("run every step again")] = False,
) -> None:
    """Build and release a commit once more, without a push; an image of the same source is used again.

    The build goes on when you leave; builds:cancel stops it.
    """
    context.services.disk.check()
    commit, ref = await _commit(context, app, number)
    await context.note(f"{commit[:7]}{' without cache' if no_cache else ''}")
    build, job = await context.services.builds.enqueue(
        app,
        commit=commit,
        ref=ref,
        message="",
        author=context.user.name,
        quarantine=None,
        fresh=no_cache,
    )
    result = await follow(context, Operation(job, build.id))
    await context.tell(f"Rebuilding {app.name}... done, {result}")


async def _commit(context: Context, app: App, number: int | None) -> tuple[str, str]:
    """The commit to work on, and the branch it came by."""
    repositories = context.services.repositories
    path = repositories.path(app.id)
    if number is not None:
        build = await _find(context, app, number)
        if not path.exists() or not await repositories.has_commit(path, build.commit):
            raise NotFoundError(texts.commit_gone(build.commit[:7]))
        return build.commit, build.ref
    for branch in (app.deploy_branch,) if app.deploy_branch else BRANCHES:
        ref = f"refs/heads/{branch}"
        if path.exists() and (commit := await repositories.read_ref(path, ref)):
            return commit, ref
    raise NotFoundError(messages.no_builds(app.name))


@registry.command(
    "builds:explain",
    "build:explain",
    offline=True,
    access=Role.VIEWER,
    examples=("builds:explain -a shop", "builds:explain -a shop --json"),
)
async def explain(
    context: Context,
    app: App,
    number: Annotated[
        int | None, Argument("N", "of this build's commit instead of what was pushed last")
    ] = None,
    *,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> int:
    """Show how the pushed commit is built and why, file and line, without building it.

    On a laptop `cygni build:explain PATH` does the same for a directory, without a server.
    """
    commit, _ = await _commit(context, app, number)
    config = await context.services.store.config.get(app.id)
    text, failed = await asyncio.to_thread(
        explain_commit,
        context.services.settings,
        context.services.repositories.path(app.id),
        commit,
        list(config),
        as_json=json,
    )
    await context.print(text)
    return 1 if failed else 0
