"""What instances of each process type may use."""

from collections.abc import Mapping

from sqlmodel import Session, col, select

from cygni.domain.models import Job, ProcessLimits
from cygni.store import rows
from cygni.store.database import Database
from cygni.store.schema import LimitsRow
from cygni.store.settings import roll_out


class Limits:
    """Limits by process type; types nobody limited are not in it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, app_id: str) -> dict[str, ProcessLimits]:
        """Return the limits by process type; none for an unknown app."""
        return await self._database.read(_read, app_id)

    async def change(
        self, app_id: str, changes: Mapping[str, ProcessLimits], *, author: str, job_kind: str | None
    ) -> Job | None:
        """Set limits and enqueue the job that makes it so: both or neither.

        Raises:
            NotFoundError: no such app.
            ConflictError: it is being destroyed.
        """
        return await self._database.write(_change, app_id, changes, author, job_kind)


def _read(session: Session, app_id: str) -> dict[str, ProcessLimits]:
    query = select(LimitsRow).where(col(LimitsRow.app_id) == app_id).order_by(col(LimitsRow.process))
    return {row.process: ProcessLimits(row.memory, row.cpus) for row in session.exec(query)}


def _change(
    session: Session,
    app_id: str,
    changes: Mapping[str, ProcessLimits],
    author: str,
    job_kind: str | None,
) -> Job | None:
    rows.lock_working_app(session, app_id)
    for process, limits in changes.items():
        session.merge(LimitsRow(app_id=app_id, process=process, memory=limits.memory, cpus=limits.cpus))
    session.flush()
    return roll_out(session, app_id, changes, author, job_kind)
