"""The audit trail: who did what, when, from where, with what result. Outlives the app it is about.

Lines are only added; `guards` makes the database refuse anything else.
"""

from sqlmodel import Session, col, select

from cygni.domain.models import Event
from cygni.store import rows
from cygni.store.database import Database
from cygni.store.schema import AppRow, EventRow


class Events:
    """What was done, newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(
        self,
        who: str,
        action: str,
        app_id: str | None,
        detail: str,
        *,
        address: str | None = None,
        result: str | None = "done",
    ) -> int:
        """Add a line and return its number. `detail` holds no config value; `result` None: `finish` will tell."""
        row = EventRow(
            at=rows.now(),
            who=who,
            action=action,
            app_id=app_id,
            detail=detail,
            address=address,
            result=result,
        )
        return await self._database.write(_add, row)

    async def finish(self, seq: int, result: str) -> None:
        """Write the result of a line that has none; one that has keeps it."""
        await self._database.write(_finish, seq, result)

    async def list(self, app_id: str | None, limit: int, *, who: str | None = None) -> list[Event]:
        """Return the newest lines, about one app or all, by one person or all."""
        return await self._database.read(_list, app_id, limit, who)


def _add(session: Session, row: EventRow) -> int:
    app = session.get(AppRow, row.app_id) if row.app_id else None
    row.app = app.name if app else None
    session.add(row)
    session.flush()
    assert row.seq is not None
    return row.seq


def _finish(session: Session, seq: int, result: str) -> None:
    row = session.get(EventRow, seq, with_for_update=True)
    if row is not None and row.result is None:
        row.result = result


def _list(session: Session, app_id: str | None, limit: int, who: str | None) -> list[Event]:
    query = select(EventRow).order_by(col(EventRow.seq).desc()).limit(limit)
    if app_id is not None:
        query = query.where(col(EventRow.app_id) == app_id)
    if who is not None:
        query = query.where(col(EventRow.who) == who)
    return [rows.event(row) for row in session.exec(query)]
