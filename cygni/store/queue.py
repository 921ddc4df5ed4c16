"""Jobs inside the caller's transaction: work is enqueued together with the fact that asks for it, or not at all."""

from collections.abc import Iterable, Mapping

from sqlmodel import Session, col, func, select

from cygni.domain.errors import ConflictError
from cygni.domain.models import JobStatus, Lane
from cygni.store import rows
from cygni.store.database import announce
from cygni.store.notifier import QUEUE
from cygni.store.schema import JobRow

WAITING_LIMIT = 100
"""Jobs that may wait in one lane of one app."""

AUTHORS = ", "
"""Between the names of several people whose changes one job carries out."""

CHANGED = "changed"
"""Key in the payload of a coalescing job: the names that it is about, with spaces between."""


def add(
    session: Session,
    app_id: str,
    lane: Lane,
    kind: str,
    payload: Mapping[str, str],
    author: str,
    coalesce: str | None = None,
) -> JobRow:
    """Put a job at the end of its lane. The caller holds the app's lock.

    Raises:
        ConflictError: too many wait there already.
    """
    _check_room(session, app_id, lane)
    row = JobRow(
        id=rows.new_id(),
        app_id=app_id,
        lane=lane.value,
        kind=kind,
        payload=dict(payload),
        author=author,
        status=JobStatus.QUEUED.value,
        created_at=rows.now(),
        coalesce=coalesce,
    )
    session.add(row)
    session.flush()
    announce(session, QUEUE)
    return row


def add_or_join(session: Session, app_id: str, kind: str, changed: Iterable[str], author: str) -> JobRow:
    """Let the waiting job of this kind do it too, or put one in the deploy lane. The caller holds the app's lock.

    A job that runs already is no help: it may have read the state before this change.
    """
    same = (
        (col(JobRow.app_id) == app_id)
        & (col(JobRow.coalesce) == kind)
        & (col(JobRow.status) == JobStatus.QUEUED.value)
    )
    waiting = session.exec(select(JobRow).where(same).with_for_update()).one_or_none()
    if waiting is None:
        payload = {CHANGED: " ".join(sorted(changed))}
        return add(session, app_id, Lane.DEPLOY, kind, payload, author, coalesce=kind)
    names = {*waiting.payload.get(CHANGED, "").split(), *changed}
    waiting.payload = {**waiting.payload, CHANGED: " ".join(sorted(names))}
    if author not in waiting.author.split(AUTHORS):
        waiting.author = AUTHORS.join([waiting.author, author])
    return waiting


def end(session: Session, row: JobRow, status: JobStatus, result: str | None) -> None:
    """Give a job its final state and tell who waits for it; its lane may be free now."""
    row.status, row.result, row.finished_at = status.value, result, rows.now()
    announce(session, row.id)
    announce(session, QUEUE)


def _check_room(session: Session, app_id: str, lane: Lane) -> None:
    waiting = (
        (col(JobRow.app_id) == app_id)
        & (col(JobRow.lane) == lane.value)
        & (col(JobRow.status) == JobStatus.QUEUED.value)
    )
    if session.exec(select(func.count()).select_from(JobRow).where(waiting)).one() >= WAITING_LIMIT:
        raise ConflictError(
            f"{WAITING_LIMIT} changes of this app wait already. Try again when they are done."
        )
