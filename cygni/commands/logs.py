"""logs."""

from typing import Annotated

from cygni.commands.context import Context
from cygni.commands.registry import Flag, registry
from cygni.domain.models import App, Role
from cygni.logs import format_record


@registry.command("logs", access=Role.VIEWER, examples=("logs -a shop -t", "logs -a shop -n 500 -p web.1"))
async def logs(
    context: Context,
    app: App,
    *,
    tail: Annotated[bool, Flag("go on as lines come", short="-t")] = False,
    num: Annotated[int, Flag("how many lines of the past", short="-n", metavar="N")] = 100,
    ps: Annotated[str | None, Flag("only this process or type: web.1, worker, router", short="-p")] = None,
    source: Annotated[str | None, Flag("only app or cygni", short="-s")] = None,
) -> None:
    """Show an app's log: its output, router lines, releases, in one order."""
    records = context.services.logs.tail(app.id, num, follow=tail, process=ps, source=source)
    async for record in records:
        await context.print(format_record(record))
