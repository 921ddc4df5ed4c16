"""config, config:get, config:set, config:unset."""

import shlex
from collections.abc import Mapping
from typing import Annotated

from cygni import messages
from cygni.commands.context import Context, pairs
from cygni.commands.operation import follow
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import NotFoundError, UserError
from cygni.domain.models import App, Role
from cygni.domain.names import is_config_name


@registry.command("config", "config:show", "config:list", offline=True, access=Role.DEPLOYER)
async def show(
    context: Context,
    app: App,
    *,
    shell: Annotated[bool, Flag("print shell assignments", short="-s")] = False,
    json: Annotated[bool, Flag("print JSON", short="-j")] = False,
) -> None:
    """List an app's config vars with their values."""
    values = dict(sorted((await context.services.store.config.get(app.id)).items()))
    if json:
        await context.print_json(values)
    elif shell:
        await context.print(*(f"{name}={shlex.quote(value)}" for name, value in values.items()))
    else:
        await context.print(f"=== {app.name} Config Vars", "", *pairs(values.items()))


@registry.command(
    "config:get", offline=True, access=Role.DEPLOYER, examples=("config:get -a shop DATABASE_URL",)
)
async def get(context: Context, app: App, name: Annotated[str, Argument("NAME", "the var's name")]) -> None:
    """Print one config var's value."""
    values = await context.services.store.config.get(app.id)
    if name not in values:
        raise NotFoundError(messages.no_such_config(name, app.name))
    await context.print(values[name])


@registry.command(
    "config:set", "config:add", access=Role.DEPLOYER, examples=("config:set -a shop LOG=debug TZ=UTC",)
)
async def set_(
    context: Context, app: App, *assignments: Annotated[str, Argument("NAME=VALUE", "one or several")]
) -> None:
    """Set config vars and roll them out as a new release, without downtime."""
    changes = dict(_assignment(word) for word in assignments)
    if not changes:
        raise UserError("Nothing to set. Usage: config:set -a APP NAME=VALUE…")
    await _change(context, app, changes, f"Setting {', '.join(changes)} and restarting {app.name}")
    await context.print(*pairs(changes.items()))


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise UserError(messages.bad_assignment(word))
    if not is_config_name(name):
        raise UserError(messages.bad_config_name(name))
    if "\0" in value:
        raise UserError(messages.bad_assignment(f"{name}=…"))
    return name, value


@registry.command(
    "config:unset", "config:remove", access=Role.DEPLOYER, examples=("config:unset -a shop LOG",)
)
async def unset(
    context: Context, app: App, *names: Annotated[str, Argument("NAME", "one or several")]
) -> None:
    """Remove config vars and roll that out as a new release, without downtime."""
    known = await context.services.store.config.get(app.id)
    for name in names:
        if name not in known:
            raise NotFoundError(messages.no_such_config(name, app.name))
    if not names:
        raise UserError("Nothing to unset. Usage: config:unset -a APP NAME…")
    await _change(
        context, app, dict.fromkeys(names), f"Unsetting {', '.join(names)} and restarting {app.name}"
    )


async def _change(context: Context, app: App, changes: Mapping[str, str | None], doing: str) -> None:
    operations = context.services.operations
    await context.services.store.events.record(context.user.name, "config", app.id, ", ".join(changes))
    operation = await operations.change_config(app, changes, context.user.name)
    result = await follow(context, operation) if operation else "no release yet"
    await context.tell(f"{doing}... done, {result}")
