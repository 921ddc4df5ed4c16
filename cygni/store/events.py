"""The audit trail: who did what. Lines are only added, and outlive the app they are about."""

from sqlmodel import Session, col, select

from cygni.domain.models import Event
from cygni.store import rows
from cygni.store.database import Database
from cygni.store.schema import EventRow


class Events:
    """What was done, newest first."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def record(self, who: str, action: str, app_id: str | None, detail: str) -> None:
        """Add a line. `detail` holds no config value."""
        row = EventRow(at=rows.now(), who=who, action=action, app_id=app_id, detail=detail)
        await self._database.write(_add, row)

    async def list(self, app_id: str | None, limit: int) -> list[Event]:
        """Return the newest lines, about one app or all."""
        return await self._database.read(_list, app_id, limit)


def _add(session: Session, row: EventRow) -> None:
    session.add(row)


def _list(session: Session, app_id: str | None, limit: int) -> list[Event]:
    query = select(EventRow).order_by(col(EventRow.seq).desc()).limit(limit)
    if app_id is not None:
        query = query.where(col(EventRow.app_id) == app_id)
    return [rows.event(row) for row in session.exec(query)]
