"""config, config:get, config:set, config:unset: one at a time."""

import shlex
from collections.abc import Mapping
from typing import Annotated

from cygni.commands import texts
from cygni.commands.context import Context, pairs
from cygni.commands.operation import follow
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import NotFoundError, UserError
from cygni.domain.models import App, Role
from cygni.domain.names import is_config_name

VALUE_BYTES = 65_536
TOTAL_BYTES = 256 << 10

NoRestart = Annotated[bool, Flag("keep what runs; the next release takes the change")]


@registry.command(
    "config",
    "config:show",
    "config:list",
    offline=True,
    audited=True,
    access=Role.DEPLOYER,
    examples=("config -a shop", "config -a shop --shell"),
)
async def show(
    context: Context,
    app: App,
    *,
    shell: Annotated[bool, Flag("print shell assignments", short="-s")] = False,
    json: Annotated[bool, Flag("print JSON", short="-j")] = False,
) -> None:
    """List an app's config vars with their values."""
    await context.note("read all")
    values = dict(sorted((await context.services.store.config.get(app.id)).items()))
    if json:
        await context.print_json(values)
    elif shell:
        await context.print(*(f"{name}={shlex.quote(value)}" for name, value in values.items()))
    else:
        await context.print_facts(
            f"{app.name} Config Vars", [(name, printable(value)) for name, value in values.items()]
        )


def printable(value: str) -> str:
    """A value on one line, without anything that moves a cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in value)


@registry.command("config:keys", offline=True, access=Role.VIEWER, examples=("config:keys -a shop",))
async def keys(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """List the names of an app's config vars, without values."""
    names = sorted(await context.services.store.config.get(app.id))
    if json:
        await context.print_json(names)
    else:
        await context.print(*names)


@registry.command(
    "config:get",
    offline=True,
    audited=True,
    access=Role.DEPLOYER,
    examples=("config:get -a shop DATABASE_URL",),
)
async def get(context: Context, app: App, name: Annotated[str, Argument("NAME", "the var's name")]) -> None:
    """Print one config var's value."""
    check_name(name)
    await context.note(f"read {name}")
    values = await context.services.store.config.get(app.id)
    if name not in values:
        raise NotFoundError(texts.no_such_config(name, app.name))
    await context.print(values[name])


@registry.command(
    "config:set",
    "config:add",
    alters=True,
    access=Role.DEPLOYER,
    examples=("config:set -a shop LOG=debug TZ=UTC", "config:set -a shop LOG=debug --no-restart"),
)
async def set_(
    context: Context,
    app: App,
    *assignments: Annotated[str, Argument("NAME=VALUE", "one or several")],
    no_restart: NoRestart = False,
) -> None:
    """Set config vars and roll them out as a new release, without downtime.

    Several in a row become one release. A value over 64 KB or secret from your shell's history:
    use config:import, which reads from standard input.
    """
    changes = dict(_assignment(word) for word in assignments)
    if not changes:
        raise UserError(texts.nothing_to_set())
    await change(context, app, changes, f"Setting {', '.join(changes)}", restart=not no_restart)
    await context.print(*pairs((name, printable(value)) for name, value in changes.items()))


def _assignment(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals:
        raise UserError(texts.bad_assignment(word))
    check_name(name)
    return name, value


def check_name(name: str) -> None:
    """Refuse what is no name of a variable, or one that the platform sets.

    Raises:
        UserError: with the rule.
    """
    if not is_config_name(name):
        raise UserError(texts.bad_config_name(name))


@registry.command(
    "config:unset", "config:remove", alters=True, access=Role.DEPLOYER, examples=("config:unset -a shop LOG",)
)
async def unset(
    context: Context,
    app: App,
    *names: Annotated[str, Argument("NAME", "one or several")],
    no_restart: NoRestart = False,
) -> None:
    """Remove config vars and roll that out as a new release, without downtime."""
    known = await context.services.store.config.get(app.id)
    for name in names:
        check_name(name)
        if name not in known:
            raise NotFoundError(texts.no_such_config(name, app.name))
    if not names:
        raise UserError(texts.nothing_to_unset())
    await change(context, app, dict.fromkeys(names), f"Unsetting {', '.join(names)}", restart=not no_restart)


async def change(
    context: Context, app: App, changes: Mapping[str, str | None], doing: str, *, restart: bool
) -> None:
    """Check and store the changes, roll them out unless told not to, and say so.

    Raises:
        UserError: a value is too long or holds a NUL, or the new release did not come up.
    """
    await _check_values(context, app, changes)
    await context.note(", ".join(changes))
    operation = await context.services.operations.change_config(
        app, changes, context.user.name, restart=restart
    )
    if operation is not None and (result := await follow(context, operation)):
        await context.tell(f"{doing} and restarting {app.name}... done, {result}")
    elif restart:
        await context.tell(f"{doing}... done, for the first release of {app.name}")
    else:
        await context.tell(f"{doing}... done, for the next release of {app.name}")


async def _check_values(context: Context, app: App, changes: Mapping[str, str | None]) -> None:
    for name, value in changes.items():
        if value is not None and "\0" in value:
            raise UserError(texts.nul_in_value(name))
        if value is not None and len(value.encode(errors="replace")) > VALUE_BYTES:
            raise UserError(texts.value_too_long(name, VALUE_BYTES))
    present = await context.services.store.config.get(app.id)
    after = {name: value for name, value in {**present, **changes}.items() if value is not None}
    size = sum(len(name) + len(value.encode(errors="replace")) for name, value in after.items())
    if size > TOTAL_BYTES:
        raise UserError(texts.config_too_big(size, TOTAL_BYTES))
