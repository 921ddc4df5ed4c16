"""config:export, config:import, config:edit: all of an app's config at once."""

from collections.abc import Mapping
from typing import Annotated

from cygni import dotenv
from cygni.commands import texts
from cygni.commands.config import NoRestart, change, check_name
from cygni.commands.context import INPUT_LIMIT, Context
from cygni.commands.registry import Flag, registry
from cygni.domain.errors import ConflictError, UserError
from cygni.domain.models import App, Role


@registry.command(
    "config:export",
    offline=True,
    audited=True,
    access=Role.DEPLOYER,
    examples=("config:export -a shop > shop.env", "config:export -a shop --json > shop.json"),
)
async def export(
    context: Context,
    app: App,
    *,
    json: Annotated[bool, Flag("as JSON instead of dotenv", short="-j")] = False,
) -> None:
    """Print all config vars as a file that config:import reads."""
    await context.note("read all")
    values = dict(sorted((await context.services.store.config.get(app.id)).items()))
    if json:
        await context.print_json(values)
    else:
        await context.ends.out(dotenv.dump(values).encode())


@registry.command(
    "config:import",
    alters=True,
    access=Role.DEPLOYER,
    examples=("config:import -a shop < shop.env", "config:import -a shop --replace < shop.json"),
)
async def import_(
    context: Context,
    app: App,
    *,
    replace: Annotated[bool, Flag("remove the vars that the file does not have")] = False,
    base: Annotated[str | None, Flag("refuse if the config is not the one with this digest")] = None,
    no_restart: NoRestart = False,
) -> None:
    """Set config vars from dotenv or JSON on standard input, as one release.

    Values never appear in a command line or a shell's history this way.
    """
    wanted = dotenv.parse(await _input(context))
    for name in wanted:
        check_name(name)
    present = await context.services.store.config.get(app.id)
    if base is not None and base != dotenv.digest(present):
        raise ConflictError(texts.config_changed(app.name))
    changes: dict[str, str | None] = {n: v for n, v in wanted.items() if present.get(n) != v}
    if replace:
        changes |= dict.fromkeys(name for name in present if name not in wanted)
    if not changes:
        await context.tell(f"Nothing to change in the config of {app.name}.")
        return
    await change(context, app, changes, _doing(changes), restart=not no_restart)


async def _input(context: Context) -> str:
    data = await context.read_input()
    if len(data) >= INPUT_LIMIT:
        raise UserError(texts.input_too_long(INPUT_LIMIT))
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise UserError(texts.not_text()) from None
    if not text.strip():
        raise UserError(texts.no_input("config:import -a APP < FILE"))
    return text


def _doing(changes: Mapping[str, str | None]) -> str:
    set_ = [name for name, value in changes.items() if value is not None]
    unset = [name for name, value in changes.items() if value is None]
    parts = [f"Setting {', '.join(set_)}" if set_ else "", f"unsetting {', '.join(unset)}" if unset else ""]
    text = " and ".join(part for part in parts if part)
    return text[:1].upper() + text[1:]


@registry.command("config:edit", laptop=True, access=Role.DEPLOYER, examples=("config:edit -a shop",))
async def edit(_: Context, app: App) -> None:
    """Edit an app's config vars in your editor; what you saved is rolled out as one release.

    `cygni` on your laptop opens $VISUAL or $EDITOR. If somebody changed the config meanwhile, nothing is changed.
    """
    raise UserError(texts.edit_elsewhere(app.name))
