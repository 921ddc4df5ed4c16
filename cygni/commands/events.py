"""events: the audit trail."""

from typing import Annotated

from cygni.commands.context import Context, ago
from cygni.commands.registry import Flag, registry
from cygni.domain.models import App, Event, Role

LOOK_BACK = 10_000


@registry.command(
    "events",
    "events:list",
    "audit",
    offline=True,
    access=Role.ADMIN,
    examples=("events -a shop", "events --who ann -n 200 --json"),
)
async def events(
    context: Context,
    app: App | None,
    *,
    number: Annotated[
        int, Flag("how many", short="-n", metavar="N", also=("--num",), least=1, most=LOOK_BACK)
    ] = 30,
    who: Annotated[str | None, Flag("only what this user did", metavar="USER")] = None,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """Show who did what, when, from where, with what result, newest first; without an app, of the whole server.

    Every change and every read of a secret is in it, also what was refused. Nothing can be altered or removed
    through the platform, and the database refuses to.
    """
    found = await context.services.store.events.list(app.id if app else None, number, who=who)
    if json:
        await context.print_json([_facts(event) for event in found])
        return
    rows = [
        (ago(e.at), e.who, e.action, e.app or "-", e.result or "unfinished", e.address or "server", e.detail)
        for e in found
    ]
    await context.print_table(("WHEN", "WHO", "ACTION", "APP", "RESULT", "FROM", "ABOUT"), rows)


def _facts(event: Event) -> dict[str, object]:
    return {
        "seq": event.seq,
        "at": event.at,
        "who": event.who,
        "action": event.action,
        "app": event.app,
        "result": event.result,
        "from": event.address,
        "about": event.detail,
    }
