"""Rows to domain values, and the look-ups that several repositories share."""

import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from sqlmodel import Session, col, select

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import (
    App,
    Build,
    BuildStatus,
    Event,
    HealthSettings,
    Job,
    JobStatus,
    Key,
    Lane,
    ProcessType,
    Release,
    ReleaseStatus,
    User,
)
from cygni.store.keyring import Keyring
from cygni.store.schema import AppRow, BuildRow, EventRow, JobRow, KeyRow, ReleaseRow, ServerRow, UserRow
from cygni.store.sealing import open_snapshot


def new_id() -> str:
    """An id: 16 hexadecimal digits, unique without asking the database."""
    return secrets.token_hex(8)


def now() -> datetime:
    """The time as the store keeps it."""
    return datetime.now(UTC)


def lock_app(session: Session, app_id: str) -> AppRow:
    """Make this transaction the only one on the app until it ends.

    Raises:
        NotFoundError: there is no such app.
    """
    app = session.exec(select(AppRow).where(col(AppRow.id) == app_id).with_for_update()).one_or_none()
    if app is None:
        raise NotFoundError("There is no such app.")
    return app


def lock_working_app(session: Session, app_id: str) -> AppRow:
    """Like `lock_app`, for new work.

    Raises:
        NotFoundError: there is no such app.
        ConflictError: it is being destroyed.
    """
    app = lock_app(session, app_id)
    if app.destroying:
        raise ConflictError(f"{app.name} is being destroyed.")
    return app


def lock_server(session: Session) -> ServerRow:
    """Make this transaction the only one that hands out server-wide names and numbers until it ends."""
    return session.exec(select(ServerRow).with_for_update()).one()


def user(row: UserRow) -> User:
    """The row as a value."""
    return User(row.id, row.name, row.admin)


def key(row: KeyRow) -> Key:
    """The row as a value."""
    return Key(row.id, row.user_id, row.name, row.fingerprint, row.public, row.created_at, row.last_used_at)


def app(row: AppRow) -> App:
    """The row as a value."""
    return App(
        id=row.id,
        name=row.name,
        token=row.token,
        port=row.port,
        created_at=row.created_at,
        deploy_branch=row.deploy_branch,
        health=_health(row),
        destroying=row.destroying,
        locked_by=row.locked_by,
    )


def _health(row: AppRow) -> HealthSettings:
    default = HealthSettings().probe_timeout
    return HealthSettings(row.health_path, row.boot_timeout, row.probe_timeout or default)


def build(row: BuildRow) -> Build:
    """The row as a value."""
    return Build(
        id=row.id,
        app_id=row.app_id,
        number=row.number,
        commit=row.commit_id,
        ref=row.ref,
        message=row.message,
        author=row.author,
        status=BuildStatus(row.status),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        failure=row.failure,
        failure_id=row.failure_id,
        image=row.image,
        provider=row.provider,
        processes=load_processes(row.processes),
        release_command=load_command(row.release_command),
        quarantine=row.quarantine,
        cancel_requested=row.cancel_requested,
        job_id=row.job_id,
    )


def release(row: ReleaseRow, keyring: Keyring) -> Release:
    """The row as a value, its config snapshot opened."""
    return Release(
        id=row.id,
        app_id=row.app_id,
        version=row.version,
        image=row.image,
        commit=row.commit_id,
        processes=load_processes(row.processes),
        release_command=load_command(row.release_command),
        author=row.author,
        reason=row.reason,
        status=ReleaseStatus(row.status),
        created_at=row.created_at,
        build_id=row.build_id,
        failure=row.failure,
        output_id=row.output_id,
        config=open_snapshot(keyring, row.config, row.app_id, row.version),
    )


def job(row: JobRow) -> Job:
    """The row as a value."""
    return Job(
        id=row.id,
        app_id=row.app_id,
        lane=Lane(row.lane),
        kind=row.kind,
        payload=dict(row.payload),
        author=row.author,
        status=JobStatus(row.status),
        created_at=row.created_at,
        owner=row.owner,
        result=row.result,
    )


def event(row: EventRow) -> Event:
    """The row as a value."""
    assert row.seq is not None
    return Event(
        seq=row.seq,
        at=row.at,
        who=row.who,
        action=row.action,
        app_id=row.app_id,
        detail=row.detail,
        app=row.app,
        address=row.address,
        result=row.result,
    )


def dump_processes(processes: Iterable[ProcessType]) -> list[dict[str, Any]]:
    """Process types as JSON, in their order."""
    return [{"name": p.name, "command": list(p.command), "port": p.port} for p in processes]


def load_processes(stored: Iterable[dict[str, Any]]) -> tuple[ProcessType, ...]:
    """Process types from JSON."""
    return tuple(ProcessType(item["name"], tuple(item["command"]), item.get("port")) for item in stored)


def load_command(stored: list[str] | None) -> tuple[str, ...] | None:
    """A command from JSON."""
    return None if stored is None else tuple(stored)
