"""The tables. Invariants that the schema can hold, it holds; `migrations/` must make the same.

Queues and audit lines are ordered by `seq`, which is never given out twice. `app_id` of a job or an event is
no foreign key: both outlive the app they are about.
"""

from datetime import UTC, datetime
from typing import Any, ClassVar

from sqlalchemy import (
    JSON,
    BigInteger,
    CheckConstraint,
    DateTime,
    Dialect,
    Index,
    MetaData,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.event import listen
from sqlalchemy.orm import registry
from sqlmodel import Field, SQLModel

from cygni.store.guards import create_guards

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time in UTC, also where the database keeps no zone (SQLite)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """To UTC; a time without a zone is a mistake."""
        del dialect
        if value is not None and value.tzinfo is None:
            raise ValueError("a time without a zone")
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Aware again."""
        del dialect
        return value.replace(tzinfo=UTC) if value else None


def _unique_where(name: str, *columns: str, where: str) -> Index:
    condition = text(where)
    return Index(name, *columns, unique=True, sqlite_where=condition, postgresql_where=condition)


NULLABLE_JSON = JSON(none_as_null=True)


class Table(SQLModel, registry=registry(metadata=metadata)):
    """Base of all tables."""


class ServerRow(Table, table=True):
    """One row: this server. Locking it serialises what must be unique on the whole server."""

    __tablename__ = "server"
    __table_args__ = (CheckConstraint("id = 1", name="one_row"),)
    id: int = Field(default=1, primary_key=True, sa_column_kwargs={"autoincrement": False})
    identity: str
    key_check: bytes
    last_port: int


class UserRow(Table, table=True):
    """A person or a machine."""

    __tablename__ = "users"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    admin: bool
    created_at: datetime = Field(sa_type=UtcDateTime)


class KeyRow(Table, table=True):
    """A public SSH key."""

    __tablename__ = "keys"
    __table_args__ = (UniqueConstraint("user_id", "name"),)
    id: str = Field(primary_key=True)
    user_id: str = Field(foreign_key="users.id", ondelete="CASCADE")
    name: str
    fingerprint: str = Field(unique=True)
    public: str = Field(sa_type=Text)
    created_at: datetime = Field(sa_type=UtcDateTime)
    last_used_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class AppRow(Table, table=True):
    """An app. Locking its row serialises what is numbered or read-then-written per app."""

    __tablename__ = "apps"
    id: str = Field(primary_key=True)
    name: str = Field(unique=True)
    token: str
    port: int = Field(unique=True)
    created_at: datetime = Field(sa_type=UtcDateTime)
    deploy_branch: str | None = None
    health_path: str | None = None
    boot_timeout: float
    destroying: bool = False
    builds: int = 0
    releases: int = 0
    locked_by: str | None = None
    probe_timeout: float | None = None


class AccessRow(Table, table=True):
    """What a person may do with an app."""

    __tablename__ = "access"
    user_id: str = Field(primary_key=True, foreign_key="users.id", ondelete="CASCADE")
    app_id: str = Field(primary_key=True, foreign_key="apps.id", ondelete="CASCADE", index=True)
    role: str


class ConfigRow(Table, table=True):
    """A config variable; the value is sealed for this app and name."""

    __tablename__ = "config"
    app_id: str = Field(primary_key=True, foreign_key="apps.id", ondelete="CASCADE")
    name: str = Field(primary_key=True)
    value: bytes


class FormationRow(Table, table=True):
    """How many processes of a type shall run."""

    __tablename__ = "formation"
    __table_args__ = (CheckConstraint("quantity >= 0", name="quantity"),)
    app_id: str = Field(primary_key=True, foreign_key="apps.id", ondelete="CASCADE")
    process: str = Field(primary_key=True)
    quantity: int
    stopped_at: datetime | None = Field(default=None, sa_type=UtcDateTime)


class LimitsRow(Table, table=True):
    """What an instance of a process type may use; NULL: the platform's default."""

    __tablename__ = "limits"
    app_id: str = Field(primary_key=True, foreign_key="apps.id", ondelete="CASCADE")
    process: str = Field(primary_key=True)
    memory: int | None = Field(default=None, sa_type=BigInteger)
    cpus: float | None = None


class BuildRow(Table, table=True):
    """A build."""

    __tablename__ = "builds"
    __table_args__ = (
        UniqueConstraint("app_id", "number"),
        Index("ix_builds_reusable", "app_id", "commit_id"),
    )
    id: str = Field(primary_key=True)
    app_id: str = Field(foreign_key="apps.id", ondelete="CASCADE")
    number: int
    job_id: str = Field(unique=True)
    commit_id: str
    ref: str
    message: str = Field(sa_type=Text)
    author: str
    status: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    started_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    failure: str | None = Field(default=None, sa_type=Text)
    failure_id: str | None = None
    image: str | None = None
    provider: str | None = None
    processes: list[dict[str, Any]] = Field(default_factory=list, sa_type=JSON)
    release_command: list[str] | None = Field(default=None, sa_type=NULLABLE_JSON)
    quarantine: str | None = None
    cancel_requested: bool = False


class ReleaseRow(Table, table=True):
    """A release; its config snapshot is sealed for this app and version."""

    __tablename__ = "releases"
    __table_args__ = (
        UniqueConstraint("app_id", "version"),
        _unique_where("uq_releases_live", "app_id", where="status = 'live'"),
    )
    id: str = Field(primary_key=True)
    app_id: str = Field(foreign_key="apps.id", ondelete="CASCADE")
    version: int
    image: str
    commit_id: str
    processes: list[dict[str, Any]] = Field(sa_type=JSON)
    release_command: list[str] | None = Field(default=None, sa_type=NULLABLE_JSON)
    config: bytes
    author: str
    reason: str
    status: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    build_id: str | None = Field(default=None, foreign_key="builds.id", ondelete="SET NULL")
    failure: str | None = Field(default=None, sa_type=Text)
    output_id: str | None = None


class JobRow(Table, table=True):
    """A job. `coalesce` names work of which one waiting job is enough."""

    __tablename__ = "jobs"
    __table_args__ = (
        _unique_where("uq_jobs_running", "app_id", "lane", where="status = 'running'"),
        _unique_where("uq_jobs_waiting", "app_id", "coalesce", where="status = 'queued'"),
        Index("ix_jobs_open", "status", "app_id", "lane"),
        {"sqlite_autoincrement": True},
    )
    seq: int | None = Field(default=None, primary_key=True)
    id: str = Field(unique=True)
    app_id: str = Field(index=True)
    lane: str
    kind: str
    payload: dict[str, str] = Field(sa_type=JSON)
    author: str
    status: str
    created_at: datetime = Field(sa_type=UtcDateTime)
    finished_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    owner: str | None = None
    heartbeat_at: datetime | None = Field(default=None, sa_type=UtcDateTime)
    result: str | None = Field(default=None, sa_type=Text)
    coalesce: str | None = None


class CertificateRow(Table, table=True):
    """A certificate chain for the router, and its sealed key."""

    __tablename__ = "certificates"
    name: str = Field(primary_key=True)
    hosts: list[str] = Field(sa_type=JSON)
    chain: str = Field(sa_type=Text)
    key: bytes
    expires_at: datetime = Field(sa_type=UtcDateTime)


class EventRow(Table, table=True):
    """A line of the audit trail."""

    __tablename__ = "events"
    __table_args__: ClassVar[Any] = {"sqlite_autoincrement": True}
    seq: int | None = Field(default=None, primary_key=True)
    at: datetime = Field(sa_type=UtcDateTime)
    who: str
    action: str
    app_id: str | None = Field(default=None, index=True)
    detail: str = Field(sa_type=Text)
    app: str | None = None
    address: str | None = None
    result: str | None = None


listen(EventRow.__table__, "after_create", lambda _, connection, **__: create_guards(connection))  # type: ignore[attr-defined]
