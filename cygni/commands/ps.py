"""ps, ps:scale, ps:restart, ps:stop, ps:start, ps:wait."""

import asyncio
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Annotated

from cygni import messages
from cygni.commands import texts
from cygni.commands.context import Context, ago
from cygni.commands.operation import follow
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, Lane, Role
from cygni.domain.sizes import show_memory
from deployer.ports import ONE_OFF_PROCESS, EngineError, Exit, Instance, Usage

SCALE_WORD = re.compile(r"([A-Za-z0-9_-]{1,63})(=|\+|-)(\d{1,5})")
ONE_OFF = re.compile(rf"{ONE_OFF_PROCESS}\.\d{{1,4}}")
MOST_INSTANCES = 100
WAIT_EVERY = 0.2
KILLED = 137
"""SIGKILL. Not every kernel says that memory was the reason, and nobody else kills what the platform runs."""


@registry.command("ps", "ps:list", "ps:report", access=Role.VIEWER, examples=("ps -a shop", "ps -a shop web"))
async def ps(
    context: Context,
    app: App,
    type_: Annotated[str | None, Argument("TYPE", "only this process type")] = None,
    *,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """List an app's processes: state, since when, memory and CPU, restarts, why it ended the last time."""
    found = [item for item in await _instances(context, app) if type_ in {None, item.process}]
    usage = await _usage(context, found)
    if json:
        await context.print_json([_facts(item, usage.get(item.id)) for item in found])
        return
    if not found:
        await context.tell(texts.no_processes(app.name, type_))
        return
    commands = await _commands(context, app)
    groups: defaultdict[str, list[Instance]] = defaultdict(list)
    for item in found:
        groups[item.process].append(item)
    for process, members in groups.items():
        heading = f"=== {process}: {commands.get(process, '')}".rstrip(": ") + f" ({len(members)})"
        lines = [context.view.fit(_line(item, usage.get(item.id))) for item in members]
        await context.print(context.view.heading(context.view.fit(heading)), "", *lines, "")


async def _instances(context: Context, app: App) -> list[Instance]:
    services = context.services
    found = [*await services.engine.list(app.id), *await services.one_offs.list(app)]
    return sorted(found, key=lambda item: (item.process, item.number, item.release, item.generation))


async def _usage(context: Context, found: list[Instance]) -> Mapping[str, Usage]:
    """Nothing where the engine cannot measure: the list itself is worth more."""
    try:
        return await context.services.engine.usage(found)
    except EngineError:
        return {}


def _facts(item: Instance, usage: Usage | None) -> dict[str, object]:
    last = item.last_exit
    return {
        "name": item.name,
        "type": item.process,
        "release": item.release,
        "state": item.state,
        "since": item.finished_at if item.state == "exited" else item.started_at,
        "restarts": item.restarts,
        "exit_code": item.exit_code,
        "out_of_memory": item.out_of_memory,
        "last_exit": _reason(last) if last else None,
        "memory_bytes": usage.memory_bytes if usage else None,
        "memory_limit": usage.memory_limit if usage else None,
        "cpus": round(usage.cpus, 3) if usage else None,
    }


STATES = {"running": "up", "starting": "starting", "stopping": "stopping", "exited": "crashed"}


def _line(item: Instance, usage: Usage | None) -> str:
    moment = item.finished_at if item.state == "exited" else item.started_at
    state = "ended" if item.one_off and item.state == "exited" else STATES[item.state]
    parts = [f"{item.name}: {state} {ago(moment)} v{item.release}"]
    if item.state == "exited":
        parts.append(_reason(Exit(item.finished_at, item.exit_code, item.out_of_memory)))
    if usage is not None:
        limit = f" of {show_memory(usage.memory_limit)}" if usage.memory_limit else ""
        parts += [f"memory {show_memory(usage.memory_bytes)}{limit}", f"CPU {usage.cpus:.0%}"]
    if item.restarts:
        parts.append(f"{item.restarts} restart{'s' if item.restarts > 1 else ''}")
    if item.last_exit is not None and item.state != "exited":
        parts.append(f"last {_reason(item.last_exit)}")
    return ", ".join(parts)


def _reason(ended: Exit) -> str:
    if ended.out_of_memory:
        return "out of memory"
    if ended.code == KILLED:
        return "killed, most likely out of memory"
    if ended.code is not None and ended.code > 128:
        return f"exit code {ended.code} (signal {ended.code - 128})"
    return f"exit code {ended.code}"


async def _commands(context: Context, app: App) -> dict[str, str]:
    live = await context.services.store.releases.live(app.id)
    shown = {p.name: " ".join(p.command[2:] or p.command) for p in live.processes} if live else {}
    return {name: command.removeprefix("exec ") for name, command in shown.items()}


@registry.command(
    "ps:scale",
    "scale",
    alters=True,
    access=Role.DEPLOYER,
    examples=("ps:scale -a shop web=2 worker+1", "ps:scale -a shop"),
)
async def scale(
    context: Context,
    app: App,
    *quantities: Annotated[str, Argument("TYPE=N", "also TYPE+N, TYPE-N; nothing: show the formation")],
    json: Annotated[bool, Flag("print the formation as JSON")] = False,
) -> None:
    """Change how many of each process type run, without touching those that stay."""
    formation = await context.services.releases.formation(app)
    if quantities:
        changes = dict(_quantity(word, formation) for word in quantities)
        await check_types(context, app, list(changes))
        await context.note(" ".join(f"{name}={count}" for name, count in changes.items()))
        operation = await context.services.operations.scale(app, changes, context.user.name)
        if operation:
            await follow(context, operation)
        formation = await context.services.releases.formation(app)
        shown = ", ".join(f"{name} at {count}" for name, count in sorted(formation.items()))
        await context.tell(f"Scaling {app.name}... done, now running {shown}")
    if json:
        await context.print_json(dict(sorted(formation.items())))
    elif not quantities:
        await context.print(" ".join(f"{name}={count}" for name, count in sorted(formation.items())))


def _quantity(word: str, formation: Mapping[str, int]) -> tuple[str, int]:
    match = SCALE_WORD.fullmatch(word)
    if match is None:
        raise UserError(texts.bad_scale(word, MOST_INSTANCES))
    present = formation.get(match[1], 0)
    count = {"=": 0, "+": present, "-": present}[match[2]] + int(match[3]) * (-1 if match[2] == "-" else 1)
    if not 0 <= count <= MOST_INSTANCES:
        raise UserError(texts.bad_scale(word, MOST_INSTANCES))
    return match[1], count


async def check_types(context: Context, app: App, types: list[str]) -> None:
    """Refuse process types that the live release has not; without one anything goes.

    Raises:
        UserError: with the types there are.
    """
    live = await context.services.store.releases.live(app.id)
    if live is None:
        return
    known = [process.name for process in live.processes]
    for name in types:
        if name not in known:
            raise UserError(messages.no_such_process(name, known))


@registry.command(
    "ps:restart",
    "restart",
    alters=True,
    access=Role.DEPLOYER,
    examples=("ps:restart -a shop", "ps:restart -a shop worker"),
)
async def restart(
    context: Context, app: App, *types: Annotated[str, Argument("TYPE", "all unless given")]
) -> None:
    """Replace processes of the current release by fresh ones, without downtime."""
    await check_types(context, app, list(types))
    await context.note(" ".join(types))
    operation = await context.services.operations.restart(app, types, context.user.name)
    await follow(context, operation)
    await context.tell(f"Restarting {', '.join(types) + ' of ' if types else ''}{app.name}... done")


@registry.command(
    "ps:stop",
    "stop",
    alters=True,
    access=Role.DEPLOYER,
    examples=("ps:stop -a shop worker", "ps:stop -a shop"),
)
async def stop(
    context: Context,
    app: App,
    *types: Annotated[str, Argument("TYPE", "all unless given; or a one-off: run.1")],
) -> None:
    """Stop processes until ps:start, which brings as many back. A stopped web answers 503 with a page.

    Pushes and config changes go on to make releases; stopped types stay stopped.
    """
    if types and all(ONE_OFF.fullmatch(name) for name in types):
        await _stop_one_offs(context, app, types)
        return
    await check_types(context, app, list(types))
    formation = await context.services.releases.formation(app)
    chosen = {name: count for name, count in formation.items() if count and (not types or name in types)}
    if not chosen:
        raise UserError(texts.nothing_runs(app.name))
    await context.note(" ".join(f"{name}={count}" for name, count in chosen.items()))
    operation = await context.services.operations.stop(app, chosen, context.user.name)
    if operation:
        await follow(context, operation)
    await context.tell(f"Stopping {', '.join(sorted(chosen))} of {app.name}... done")


async def _stop_one_offs(context: Context, app: App, names: tuple[str, ...]) -> None:
    await context.note(" ".join(names))
    for name in names:
        await context.services.one_offs.stop(app, name)
    await context.tell(f"Stopping {', '.join(names)} of {app.name}... done")


@registry.command("ps:start", "start", alters=True, access=Role.DEPLOYER, examples=("ps:start -a shop",))
async def start(
    context: Context, app: App, *types: Annotated[str, Argument("TYPE", "all that are stopped unless given")]
) -> None:
    """Start stopped processes again, as many as ran before."""
    await check_types(context, app, list(types))
    asked = await context.services.store.formation.asked(app.id)
    stopped = [q.process for q in asked if q.stopped_at and (not types or q.process in types)]
    if not stopped:
        raise UserError(texts.nothing_stopped(app.name))
    await context.note(" ".join(stopped))
    operation = await context.services.operations.start_again(app, stopped, context.user.name)
    if operation:
        await follow(context, operation)
    await context.tell(f"Starting {', '.join(sorted(stopped))} of {app.name}... done")


@registry.command("ps:wait", access=Role.VIEWER, examples=("ps:wait -a shop --timeout 60",))
async def wait(
    context: Context,
    app: App,
    *,
    timeout: Annotated[
        int, Flag("give up after so many seconds", metavar="SECONDS", least=1, most=7200)
    ] = 300,
) -> None:
    """Wait until everything that should run does, of the current release, and no change is under way."""
    try:
        async with asyncio.timeout(timeout):
            while (missing := await _missing(context, app)) is not None:
                await asyncio.sleep(WAIT_EVERY)
    except TimeoutError:
        raise UserError(texts.not_up_in_time(app.name, missing or "", timeout)) from None
    await context.tell(f"Waiting for {app.name}... done")


async def _missing(context: Context, app: App) -> str | None:
    """What is not as it should be yet; None when all is."""
    store = context.services.store
    if await store.jobs.running(app.id, Lane.DEPLOY) is not None:
        return "a change is under way"
    live = await store.releases.live(app.id)
    if live is None:
        return "there is no release"
    found = await context.services.engine.list(app.id)
    wanted = Counter(await context.services.releases.formation(app))
    running = Counter(i.process for i in found if i.state == "running" and i.release == live.version)
    missing = [
        f"{name} {running[name]} of {count}" for name, count in wanted.items() if running[name] < count
    ]
    return ", ".join(missing) or None
