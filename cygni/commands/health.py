"""health, health:set."""

from dataclasses import replace
from typing import Annotated

from cygni.commands import texts
from cygni.commands.context import Context
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, HealthSettings, Role

BOOT_LIMIT = 3600.0
PROBE_LIMIT = 300.0
PATH_LENGTH = 1000


@registry.command(
    "health", "checks", "checks:report", offline=True, access=Role.VIEWER, examples=("health -a shop",)
)
async def health(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """Show when an instance of an app counts as ready."""
    found = app.health
    if json:
        await context.print_json(
            {"path": found.path, "boot-timeout": found.boot_timeout, "probe-timeout": found.probe_timeout}
        )
        return
    await context.print_facts(
        f"{app.name} Health",
        [
            ("path", found.path or "none: any answer to a first GET / counts"),
            ("boot-timeout", f"{found.boot_timeout:g} s"),
            ("probe-timeout", f"{found.probe_timeout:g} s"),
        ],
    )


@registry.command(
    "health:set",
    "checks:set",
    offline=True,
    alters=True,
    access=Role.DEPLOYER,
    examples=("health:set -a shop path=/up boot-timeout=90",),
)
async def set_(
    context: Context,
    app: App,
    *settings: Annotated[
        str, Argument("NAME=VALUE", "path=/up (empty: none), boot-timeout=S, probe-timeout=S")
    ],
) -> None:
    """Set the health path and the limits; they hold from the next release or restart on."""
    changed = app.health
    for word in settings:
        changed = _apply(changed, word)
    if not settings:
        raise UserError(texts.bad_health(""))
    await context.note(" ".join(settings))
    await context.services.store.apps.set_health(app.id, changed)
    await context.tell(f"Setting the health check of {app.name}... done")


def _apply(health: HealthSettings, word: str) -> HealthSettings:
    name, _, value = word.partition("=")
    if name == "path" and "=" in word and _is_path(value):
        return replace(health, path=value or None)
    if name == "boot-timeout":
        return replace(health, boot_timeout=_seconds(word, value, BOOT_LIMIT))
    if name == "probe-timeout":
        return replace(health, probe_timeout=_seconds(word, value, PROBE_LIMIT))
    raise UserError(texts.bad_health(word))


def _is_path(value: str) -> bool:
    """A path goes into a request line as it is."""
    plain = value.isascii() and value.isprintable() and " " not in value and len(value) <= PATH_LENGTH
    return not value or (value.startswith("/") and plain)


def _seconds(word: str, value: str, most: float) -> float:
    try:
        seconds = float(value)
    except ValueError:
        raise UserError(texts.bad_health(word)) from None
    if not 1 <= seconds <= most:
        raise UserError(texts.bad_health(word))
    return seconds
