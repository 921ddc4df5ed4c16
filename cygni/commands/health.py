"""health, health:set."""

from dataclasses import replace
from typing import Annotated

from cygni import messages
from cygni.commands.context import Context, pairs
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, HealthSettings, Role

BOOT_LIMIT = 3600.0


@registry.command("health", offline=True, access=Role.VIEWER)
async def health(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """Show when an instance of an app counts as ready."""
    facts = {"path": app.health.path, "boot-timeout": app.health.boot_timeout}
    if json:
        await context.print_json(facts)
        return
    path = app.health.path or "none: any answer to a first GET / counts"
    await context.print(
        f"=== {app.name} Health",
        "",
        *pairs([("path", path), ("boot-timeout", f"{app.health.boot_timeout:g} s")]),
    )


@registry.command(
    "health:set",
    offline=True,
    access=Role.DEPLOYER,
    examples=("health:set -a shop path=/up boot-timeout=90",),
)
async def set_(
    context: Context,
    app: App,
    *settings: Annotated[str, Argument("NAME=VALUE", "path=/up (empty: none), boot-timeout=S")],
) -> None:
    """Set the health path and the boot limit; they hold from the next release or restart on."""
    changed = app.health
    for word in settings:
        changed = _apply(changed, word)
    await context.services.store.apps.set_health(app.id, changed)
    await context.services.store.events.record(context.user.name, "health:set", app.id, " ".join(settings))
    await context.tell(f"Setting the health check of {app.name}... done")


def _apply(health: HealthSettings, word: str) -> HealthSettings:
    name, equals, value = word.partition("=")
    if name == "path" and equals:
        if value and (not value.startswith("/") or not value.isprintable() or " " in value):
            raise UserError(messages.bad_health(word))
        return replace(health, path=value or None)
    if name == "boot-timeout" and equals:
        return replace(health, boot_timeout=_seconds(word, value))
    raise UserError(messages.bad_health(word))


def _seconds(word: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        raise UserError(messages.bad_health(word)) from None
    if not 1 <= seconds <= BOOT_LIMIT:
        raise UserError(messages.bad_health(word))
    return seconds
