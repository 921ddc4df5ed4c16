"""Builds, each with the job that carries it out."""

from collections.abc import Iterable, Mapping

from sqlmodel import Session, col, select

from cygni.domain.errors import NotFoundError
from cygni.domain.models import Build, BuildStatus, Job, JobStatus, Lane, ProcessType
from cygni.store import queue, rows
from cygni.store.database import Database
from cygni.store.schema import BuildRow, JobRow

KIND = "build"
CANCELLED = "cancelled"
BUILD_ID = "build_id"
"""Key in the payload of a build's job."""


class Builds:
    """Builds of an app, numbered from 1 without a gap."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def enqueue(
        self,
        app_id: str,
        *,
        commit: str,
        ref: str,
        message: str,
        author: str,
        quarantine: str | None,
        payload: Mapping[str, str],
    ) -> tuple[Build, Job]:
        """Record a build and its job, in whose payload the build's id is added; waiting ones are superseded.

        Raises:
            NotFoundError: no such app.
            ConflictError: it is being destroyed.
        """
        row = BuildRow(
            id=rows.new_id(),
            app_id=app_id,
            number=0,
            job_id="",
            commit_id=commit,
            ref=ref,
            message=message,
            author=author,
            status=BuildStatus.QUEUED.value,
            created_at=rows.now(),
            quarantine=quarantine,
        )
        return await self._database.write(_enqueue, row, payload)

    async def get(self, build_id: str) -> Build | None:
        """Return the build of that id."""
        return await self._database.read(_get, build_id)

    async def by_number(self, app_id: str, number: int) -> Build | None:
        """Return the app's build of that number."""
        return await self._database.read(_by_number, app_id, number)

    async def list(self, app_id: str, limit: int) -> list[Build]:
        """Return the app's builds, newest first."""
        return await self._database.read(_list, app_id, limit)

    async def has_commit(self, app_id: str, commit: str) -> bool:
        """Whether the app has a build of this commit, whatever became of it."""
        return await self._database.read(_has_commit, app_id, commit)

    async def start(self, build_id: str) -> Build:
        """Mark it running; nothing changes when it is already, or has ended.

        Raises:
            NotFoundError: no such build.
        """
        return await self._database.write(_start, build_id)

    async def finish(
        self,
        build_id: str,
        status: BuildStatus,
        *,
        failure: str | None = None,
        failure_id: str | None = None,
        image: str | None = None,
        provider: str | None = None,
        processes: Iterable[ProcessType] = (),
        release_command: tuple[str, ...] | None = None,
    ) -> Build:
        """Give it its final state; one that has ended stays as it is. Returns the build as it is now.

        Raises:
            NotFoundError: no such build.
        """
        values = {
            "status": status.value,
            "failure": failure,
            "failure_id": failure_id,
            "image": image,
            "provider": provider,
            "processes": rows.dump_processes(processes),
            "release_command": None if release_command is None else [*release_command],
        }
        return await self._database.write(_finish, build_id, values)

    async def request_cancel(self, build_id: str) -> bool:
        """Cancel a waiting build at once, or note the wish on a running one. False when it has ended or is unknown."""
        return await self._database.write(_request_cancel, build_id)

    async def reusable(self, app_id: str, commit: str) -> Build | None:
        """Return the newest successful build of a commit; whether its image still exists is the engine's to say."""
        return await self._database.read(_reusable, app_id, commit)


def end_with_build(session: Session, job: JobRow, status: BuildStatus, why: str) -> None:
    """Cancel a job, and give the build that it was to carry out, if any, this final state."""
    queue.end(session, job, JobStatus.CANCELLED, why)
    build = session.exec(select(BuildRow).where(col(BuildRow.job_id) == job.id)).one_or_none()
    if build is not None and not BuildStatus(build.status).final:
        build.status, build.finished_at = status.value, rows.now()
        build.failure, build.failure_id = why, f"build/{status.value}"


def _enqueue(session: Session, row: BuildRow, payload: Mapping[str, str]) -> tuple[Build, Job]:
    app = rows.lock_working_app(session, row.app_id)
    app.builds += 1
    row.number = app.builds
    for waiting in _waiting_jobs(session, row.app_id):
        why = f"a newer push took its place (build {row.number})"
        end_with_build(session, waiting, BuildStatus.SUPERSEDED, why)
    session.flush()  # the place in the unique index of waiting jobs is free now
    payload = {**payload, BUILD_ID: row.id}
    job = queue.add(session, row.app_id, Lane.BUILD, KIND, payload, row.author, coalesce=KIND)
    row.job_id = job.id
    session.add(row)
    return rows.build(row), rows.job(job)


def _waiting_jobs(session: Session, app_id: str) -> list[JobRow]:
    """Locked, so that none of them starts meanwhile."""
    waiting = (
        (col(JobRow.app_id) == app_id)
        & (col(JobRow.coalesce) == KIND)
        & (col(JobRow.status) == JobStatus.QUEUED.value)
    )
    return list(session.exec(select(JobRow).where(waiting).with_for_update()))


def _get(session: Session, build_id: str) -> Build | None:
    row = session.get(BuildRow, build_id)
    return rows.build(row) if row else None


def _by_number(session: Session, app_id: str, number: int) -> Build | None:
    query = select(BuildRow).where(col(BuildRow.app_id) == app_id, col(BuildRow.number) == number)
    row = session.exec(query).one_or_none()
    return rows.build(row) if row else None


def _list(session: Session, app_id: str, limit: int) -> list[Build]:
    query = select(BuildRow).where(col(BuildRow.app_id) == app_id).order_by(col(BuildRow.number).desc())
    return [rows.build(row) for row in session.exec(query.limit(limit))]


def _has_commit(session: Session, app_id: str, commit: str) -> bool:
    query = select(BuildRow.id).where(col(BuildRow.app_id) == app_id, col(BuildRow.commit_id) == commit)
    return session.exec(query.limit(1)).first() is not None


def _locked(session: Session, build_id: str) -> BuildRow:
    row = session.get(BuildRow, build_id, with_for_update=True)
    if row is None:
        raise NotFoundError("There is no such build.")
    return row


def _start(session: Session, build_id: str) -> Build:
    row = _locked(session, build_id)
    if row.status == BuildStatus.QUEUED:
        row.status, row.started_at = BuildStatus.RUNNING.value, rows.now()
    return rows.build(row)


def _finish(session: Session, build_id: str, values: Mapping[str, object]) -> Build:
    row = _locked(session, build_id)
    if not BuildStatus(row.status).final:
        for name, value in values.items():
            setattr(row, name, value)
        row.finished_at = rows.now()
    return rows.build(row)


def _request_cancel(session: Session, build_id: str) -> bool:
    row = session.get(BuildRow, build_id)
    if row is None:
        return False
    rows.lock_app(session, row.app_id)
    # Locks are taken in one order everywhere, app, job, build, so that none wait for each other in a circle.
    job = session.exec(select(JobRow).where(col(JobRow.id) == row.job_id).with_for_update()).one_or_none()
    session.refresh(row, with_for_update=True)
    if BuildStatus(row.status).final:
        return False
    row.cancel_requested = True
    if job is not None and job.status == JobStatus.QUEUED:
        end_with_build(session, job, BuildStatus.CANCELLED, CANCELLED)
    return True


def _reusable(session: Session, app_id: str, commit: str) -> Build | None:
    query = (
        select(BuildRow)
        .where(
            col(BuildRow.app_id) == app_id,
            col(BuildRow.commit_id) == commit,
            col(BuildRow.status) == BuildStatus.SUCCEEDED.value,
            col(BuildRow.image).is_not(None),
        )
        .order_by(col(BuildRow.number).desc())
    )
    row = session.exec(query.limit(1)).one_or_none()
    return rows.build(row) if row else None
