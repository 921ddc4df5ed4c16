"""limits, limits:set: memory and processors of each process type."""

from typing import Annotated

from cygni.commands import texts
from cygni.commands.context import Context
from cygni.commands.operation import follow
from cygni.commands.ps import check_types
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, ProcessLimits, Role
from cygni.domain.sizes import SIZES, parse_size, show_cpus, show_memory
from deployer.manifest import Resources


@registry.command("limits", "limits:list", offline=True, access=Role.VIEWER, examples=("limits -a shop",))
async def limits(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """Show what one instance of each process type may use.

    Sizes by name: small: 256M, 0.5 CPU; standard: 512M, 1 CPU; large: 1G, 2 CPUs; xlarge: 2G, 4 CPUs; default: 512M, no CPU limit.
    """
    store = context.services.store
    live = await store.releases.live(app.id)
    stored = await store.limits.get(app.id)
    types = sorted({*stored, *(process.name for process in (live.processes if live else ()))})
    rows = [(name, _effective(stored.get(name, ProcessLimits()))) for name in types]
    if json:
        await context.print_json(
            [{"type": name, "memory_bytes": item.memory, "cpus": item.cpus} for name, item in rows]
        )
        return
    shown = [(name, show_memory(item.memory), show_cpus(item.cpus)) for name, item in rows]
    await context.print_table(("TYPE", "MEMORY", "CPUS"), shown)


def _effective(stored: ProcessLimits) -> ProcessLimits:
    return ProcessLimits(stored.memory or Resources().memory_bytes, stored.cpus)


@registry.command(
    "limits:set",
    "ps:resize",
    "ps:type",
    "resize",
    "resource:limit",
    alters=True,
    access=Role.DEPLOYER,
    examples=("limits:set -a shop web=512M:0.5 worker=large", "limits:set -a shop web=default"),
)
async def set_(
    context: Context,
    app: App,
    *sizes: Annotated[str, Argument("TYPE=SIZE", "512M, 512M:0.5, :0.5 or a name")],
) -> None:
    """Limit memory and processors of process types; processes are replaced, without downtime.

    A process that needs more memory than its limit is killed and `ps` says so.
    """
    changes = dict(_size(word) for word in sizes)
    if not changes:
        raise UserError(texts.bad_size("", SIZES))
    await check_types(context, app, list(changes))
    await context.note(" ".join(sizes))
    operation = await context.services.operations.limit(app, changes, context.user.name)
    if operation:
        await follow(context, operation)
    await context.tell(f"Resizing {', '.join(changes)} of {app.name}... done")


def _size(word: str) -> tuple[str, ProcessLimits]:
    name, equals, text = word.partition("=")
    size = parse_size(text)
    if not equals or not name or size is None:
        raise UserError(texts.bad_size(word, SIZES))
    return name, size
