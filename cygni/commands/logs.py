"""logs."""

import json as json_format
import re
from collections.abc import Callable
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import Annotated

from cygni.commands import texts
from cygni.commands.context import Context
from cygni.commands.registry import Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, Role
from cygni.logs import Filter, LogRecord, format_record
from cygni.view import View

MOST_LINES = 10_000
USUAL_LINES = 100

_AGO = re.compile(r"(\d{1,6})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


@registry.command(
    "logs",
    access=Role.VIEWER,
    examples=(
        "logs -a shop -t",
        "logs -a shop -n 500 -p web.1",
        "logs -a shop --since 2h --grep timeout --json",
    ),
)
async def logs(
    context: Context,
    app: App,
    *,
    tail: Annotated[bool, Flag("go on as lines come", short="-t", also=("-f", "--follow"))] = False,
    num: Annotated[
        int | None,
        Flag(
            "how many lines of the past; 100, or with --since all",
            short="-n",
            metavar="N",
            least=0,
            most=MOST_LINES,
        ),
    ] = None,
    ps: Annotated[
        str | None,
        Flag(
            "only this process or type: web.1, worker, router", short="-p", also=("-d", "--dyno", "--process")
        ),
    ] = None,
    source: Annotated[str | None, Flag("only app or cygni", short="-s")] = None,
    since: Annotated[
        str | None, Flag("from this time on: 10m, 2h, 3d ago, or a date and time", metavar="TIME")
    ] = None,
    until: Annotated[str | None, Flag("up to this time", metavar="TIME")] = None,
    grep: Annotated[
        str | None, Flag("only lines with this text, in any case; no pattern", metavar="TEXT")
    ] = None,
    json: Annotated[bool, Flag("print an object a line")] = False,
) -> None:
    """Show an app's log: its output, router lines, releases, in one order; it outlives deploys and restarts.

    A reader that is too slow holds nothing up; it is told how many lines it missed.
    """
    now = datetime.now(UTC)
    begin, end = _moment(since, now), _moment(until, now)
    if begin and end and end < begin:
        raise UserError(texts.no_lines_between())
    if tail and until:
        raise UserError(texts.no_tail_until())
    wanted = Filter(process=ps, source=source, since=begin, until=end, text=grep)
    count = num if num is not None else (MOST_LINES if since else USUAL_LINES)
    show = _json if json else _shower(context.view)
    async with aclosing(context.services.logs.batches(app.id, count, wanted, follow=tail)) as batches:
        async for batch in batches:
            await context.print(*map(show, batch))


def _moment(text: str | None, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        if match := _AGO.fullmatch(text):
            return now - timedelta(**{_UNITS[match[2]]: int(match[1])})
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise UserError(texts.bad_time(text)) from None


def _shower(view: View) -> Callable[[LogRecord], str]:
    if not view.colour:
        return format_record

    def show(record: LogRecord) -> str:
        head, _, text = format_record(record).partition("]: ")
        return view.tinted(f"{head}]:", record.process) + f" {text}"

    return show


def _json(record: LogRecord) -> str:
    return json_format.dumps(
        {
            "at": record.at.isoformat(),
            "source": record.source,
            "process": record.process,
            "text": record.text,
        },
        ensure_ascii=False,
    )
