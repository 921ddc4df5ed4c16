"""The queue of durable work. That at most one job of an app and lane runs is a unique index, not code."""

from collections.abc import Iterable, Mapping
from datetime import timedelta

from sqlalchemy import CursorResult, delete, exists, update
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from cygni.domain.errors import ConflictError
from cygni.domain.models import BuildStatus, Job, JobStatus, Lane, ReleaseStatus
from cygni.store import queue, rows
from cygni.store.builds import CANCELLED, end_with_build
from cygni.store.database import Database, announce
from cygni.store.notifier import QUEUE, Notifier
from cygni.store.schema import BuildRow, JobRow, ReleaseRow

CLAIM_TRIES = 10
UNFINISHED = (BuildStatus.QUEUED.value, BuildStatus.RUNNING.value)
NOT_LIVE = "its roll-out ended before it went live"
NOT_BUILT = "its job ended before the build did"
"""Why something has failed that could not say it: the database refused, or it was cancelled in between."""


class Jobs:
    """Jobs, oldest first. `notifier` tells of new ones (`QUEUE`) and of the end of each (its id)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def notifier(self) -> Notifier:
        """Wakes who waits for jobs, within this process."""
        return self._database.notifier

    async def enqueue(
        self, app_id: str, lane: Lane, kind: str, payload: Mapping[str, str], author: str
    ) -> Job:
        """Put a job at the end of its lane.

        Raises:
            NotFoundError: no such app.
            ConflictError: too many wait there already.
        """
        return await self._database.write(_enqueue, app_id, lane, kind, payload, author)

    async def claim(self, owner: str, lanes: Iterable[Lane] | None = None) -> Job | None:
        """Make the oldest job whose app and lane is free the owner's, running; None if there is none."""
        wanted = tuple(lane.value for lane in (Lane if lanes is None else lanes))
        for _ in range(CLAIM_TRIES):
            try:
                return await self._database.write(_claim, owner, wanted)
            except ConflictError:  # another control plane took one of the same app and lane; look again
                continue
        return None

    async def heartbeat(self, owner: str) -> set[str]:
        """Say that the owner is alive. Returns the ids of the jobs that are still its own."""
        return await self._database.write(_heartbeat, owner)

    async def finish(
        self, job_id: str, status: JobStatus, result: str | None, *, owner: str | None = None
    ) -> bool:
        """End a running job; False when it does not run, or is not the owner's, any more."""
        return await self._database.write(_finish, job_id, status, result, owner)

    async def get(self, job_id: str) -> Job | None:
        """Return the job of that id."""
        return await self._database.read(_get, job_id)

    async def cancel_waiting(self, job_id: str) -> bool:
        """Cancel a job that has not started, and its build; False when it has."""
        return await self._database.write(_cancel_waiting, job_id)

    async def abandoned(self, owner: str, older_than_seconds: float) -> list[Job]:
        """Return running jobs of other owners who were silent for so long; 0 takes them for dead without asking."""
        return await self._database.read(_abandoned, owner, older_than_seconds)

    async def take_over(self, job: Job, owner: str) -> bool:
        """Make another owner's running job this owner's; False when it has changed since it was read."""
        return await self._database.write(_take_over, job, owner)

    async def requeue(self, job_id: str, *, owner: str | None = None) -> bool:
        """Let a running job wait again, in its old place; False when it does not run, or is not the owner's.

        Where a newer waiting job does the same work, this one ends as cancelled.
        """
        return await self._database.write(_requeue, job_id, owner)

    async def running(self, app_id: str, lane: Lane) -> Job | None:
        """Return what holds the lane."""
        return await self._database.read(_running, app_id, lane)

    async def prune(self, older_than_seconds: float) -> int:
        """Forget jobs that ended so long ago; returns how many."""
        return await self._database.write(_prune, older_than_seconds)


def _enqueue(
    session: Session, app_id: str, lane: Lane, kind: str, payload: Mapping[str, str], author: str
) -> Job:
    rows.lock_app(session, app_id)
    return rows.job(queue.add(session, app_id, lane, kind, payload, author))


def _oldest_free(session: Session, lanes: tuple[str, ...]) -> JobRow | None:
    holder = aliased(JobRow)
    held = exists().where(
        col(holder.app_id) == col(JobRow.app_id),
        col(holder.lane) == col(JobRow.lane),
        col(holder.status) == JobStatus.RUNNING.value,
    )
    query = (
        select(JobRow)
        .where(col(JobRow.status) == JobStatus.QUEUED.value, col(JobRow.lane).in_(lanes), ~held)
        .order_by(col(JobRow.seq))
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return session.exec(query).one_or_none()


def _claim(session: Session, owner: str, lanes: tuple[str, ...]) -> Job | None:
    row = _oldest_free(session, lanes)
    if row is None:
        return None
    row.status, row.owner, row.heartbeat_at = JobStatus.RUNNING.value, owner, rows.now()
    return rows.job(row)


def _heartbeat(session: Session, owner: str) -> set[str]:
    mine = (col(JobRow.owner) == owner) & (col(JobRow.status) == JobStatus.RUNNING.value)
    session.exec(update(JobRow).where(mine).values(heartbeat_at=rows.now()))
    return set(session.exec(select(JobRow.id).where(mine)))


def _locked(session: Session, job_id: str, status: JobStatus) -> JobRow | None:
    """The job, if it is in that state; it stays so until this transaction ends."""
    query = select(JobRow).where(col(JobRow.id) == job_id, col(JobRow.status) == status.value)
    return session.exec(query.with_for_update()).one_or_none()


def _finish(session: Session, job_id: str, status: JobStatus, result: str | None, owner: str | None) -> bool:
    row = _locked(session, job_id, JobStatus.RUNNING)
    if row is None or (owner is not None and row.owner != owner):
        return False
    _end_its_work(session, row)
    queue.end(session, row, status, result)
    return True


def _end_its_work(session: Session, row: JobRow) -> None:
    """Nothing is under way without a job: what this one could not give a final state any more has failed."""
    pending = (col(ReleaseRow.app_id) == row.app_id) & (col(ReleaseRow.status) == ReleaseStatus.PENDING.value)
    if row.lane == Lane.DEPLOY:
        for release in session.exec(select(ReleaseRow).where(pending)):
            release.status, release.failure = ReleaseStatus.FAILED.value, NOT_LIVE
    unfinished = (col(BuildRow.job_id) == row.id) & (col(BuildRow.status).in_(UNFINISHED))
    for build in session.exec(select(BuildRow).where(unfinished)):
        build.status, build.finished_at = BuildStatus.FAILED.value, rows.now()
        build.failure, build.failure_id = NOT_BUILT, "platform/unexpected"


def _get(session: Session, job_id: str) -> Job | None:
    row = session.exec(select(JobRow).where(col(JobRow.id) == job_id)).one_or_none()
    return rows.job(row) if row else None


def _cancel_waiting(session: Session, job_id: str) -> bool:
    row = _locked(session, job_id, JobStatus.QUEUED)
    if row is None:
        return False
    end_with_build(session, row, BuildStatus.CANCELLED, CANCELLED)
    return True


def _abandoned(session: Session, owner: str, older_than_seconds: float) -> list[Job]:
    query = select(JobRow).where(col(JobRow.status) == JobStatus.RUNNING.value, col(JobRow.owner) != owner)
    if older_than_seconds > 0:
        limit = rows.now() - timedelta(seconds=older_than_seconds)
        query = query.where(col(JobRow.heartbeat_at) < limit)
    return [rows.job(row) for row in session.exec(query.order_by(col(JobRow.seq)))]


def _take_over(session: Session, job: Job, owner: str) -> bool:
    row = _locked(session, job.id, JobStatus.RUNNING)
    if row is None or row.owner != job.owner:
        return False
    row.owner, row.heartbeat_at = owner, rows.now()
    return True


def _requeue(session: Session, job_id: str, owner: str | None) -> bool:
    row = _locked(session, job_id, JobStatus.RUNNING)
    if row is None or (owner is not None and row.owner != owner):
        return False
    if _newer_waits(session, row):
        end_with_build(session, row, BuildStatus.SUPERSEDED, "a newer one does the same")
        return True
    row.status, row.owner, row.heartbeat_at = JobStatus.QUEUED.value, None, None
    announce(session, QUEUE)
    return True


def _newer_waits(session: Session, row: JobRow) -> bool:
    if row.coalesce is None:
        return False
    query = select(JobRow.id).where(
        col(JobRow.app_id) == row.app_id,
        col(JobRow.coalesce) == row.coalesce,
        col(JobRow.status) == JobStatus.QUEUED.value,
    )
    return session.exec(query).first() is not None


def _running(session: Session, app_id: str, lane: Lane) -> Job | None:
    query = select(JobRow).where(
        col(JobRow.app_id) == app_id,
        col(JobRow.lane) == lane.value,
        col(JobRow.status) == JobStatus.RUNNING.value,
    )
    row = session.exec(query).one_or_none()
    return rows.job(row) if row else None


def _prune(session: Session, older_than_seconds: float) -> int:
    ended = col(JobRow.finished_at) < rows.now() - timedelta(seconds=older_than_seconds)
    result = session.exec(delete(JobRow).where(ended))
    assert isinstance(result, CursorResult)
    return result.rowcount
