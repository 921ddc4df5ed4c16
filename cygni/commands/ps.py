"""ps, ps:scale, ps:restart."""

import re
from collections import defaultdict
from typing import Annotated

from cygni import messages
from cygni.commands.context import Context, ago
from cygni.commands.operation import follow
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, Role
from cygni.operations import RESTART
from deployer.ports import Instance

SCALE = re.compile(r"([A-Za-z0-9_-]{1,63})=(\d{1,3})")
MOST_INSTANCES = 100


@registry.command("ps", "ps:list", access=Role.VIEWER)
async def ps(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """List an app's processes and their state."""
    instances = sorted(
        await context.services.engine.list(app.id), key=lambda i: (i.process, i.number, i.release)
    )
    if json:
        await context.print_json([_facts(instance) for instance in instances])
        return
    if not instances:
        await context.tell(f"No processes on {app.name}")
        return
    commands = await _commands(context, app)
    groups: defaultdict[str, list[Instance]] = defaultdict(list)
    for instance in instances:
        groups[instance.process].append(instance)
    for process, members in groups.items():
        await context.print(f"=== {process}: {commands.get(process, '')} ({len(members)})".rstrip(), "")
        await context.print(*(_line(instance) for instance in members), "")


def _facts(instance: Instance) -> dict[str, object]:
    return {
        "name": instance.name,
        "release": instance.release,
        "state": instance.state,
        "since": instance.started_at,
        "restarts": instance.restarts,
        "exit_code": instance.exit_code,
        "out_of_memory": instance.out_of_memory,
    }


def _line(instance: Instance) -> str:
    state = {"running": "up", "starting": "starting", "exited": "crashed"}[instance.state]
    moment = instance.finished_at if instance.state == "exited" else instance.started_at
    line = f"{instance.name}: {state} {ago(moment)} v{instance.release}"
    if instance.out_of_memory:
        line += ", out of memory"
    elif instance.exit_code is not None and instance.state == "exited":
        line += f", exit code {instance.exit_code}"
    return f"{line}, {instance.restarts} restarts" if instance.restarts else line


async def _commands(context: Context, app: App) -> dict[str, str]:
    live = await context.services.store.releases.live(app.id)
    return {p.name: " ".join(p.command[2:] or p.command) for p in live.processes} if live else {}


@registry.command("ps:scale", "scale", access=Role.DEPLOYER, examples=("ps:scale -a shop web=2 worker=1",))
async def scale(
    context: Context, app: App, *quantities: Annotated[str, Argument("TYPE=N", "nothing: show the formation")]
) -> None:
    """Change how many of each process type run; without arguments show it."""
    store = context.services.store
    if not quantities:
        formation = await context.services.releases.formation(app)
        await context.print(" ".join(f"{name}={count}" for name, count in sorted(formation.items())))
        return
    changes = dict(_quantity(word) for word in quantities)
    await _check_types(context, app, list(changes))
    await store.events.record(context.user.name, "ps:scale", app.id, " ".join(quantities))
    operation = await context.services.operations.scale(app, changes, context.user.name)
    if operation:
        await follow(context, operation)
    shown = ", ".join(
        f"{name} at {count}"
        for name, count in sorted((await context.services.releases.formation(app)).items())
    )
    await context.tell(f"Scaling {app.name}... done, now running {shown}")


def _quantity(word: str) -> tuple[str, int]:
    match = SCALE.fullmatch(word)
    if match is None or int(match[2]) > MOST_INSTANCES:
        raise UserError(messages.bad_scale(word))
    return match[1], int(match[2])


async def _check_types(context: Context, app: App, types: list[str]) -> None:
    live = await context.services.store.releases.live(app.id)
    if live is None:
        return
    known = [process.name for process in live.processes]
    for name in types:
        if name not in known:
            raise UserError(messages.no_such_process(name, known))


@registry.command("ps:restart", "restart", access=Role.DEPLOYER)
async def restart(context: Context, app: App) -> None:
    """Replace every process of the current release, without downtime."""
    await context.services.store.events.record(context.user.name, "ps:restart", app.id, "")
    operation = await context.services.operations.start(app, RESTART, context.user.name)
    await follow(context, operation)
    await context.tell(f"Restarting {app.name}... done")
