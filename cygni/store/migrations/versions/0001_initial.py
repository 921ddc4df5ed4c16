"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    _server_and_people()
    _apps()
    _builds_and_releases()
    _jobs_and_events()


def _unique_where(name: str, table: str, columns: list[str], where: str) -> None:
    condition = sa.text(where)
    op.create_index(name, table, columns, unique=True, sqlite_where=condition, postgresql_where=condition)


def _app_key() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["app_id"], ["apps.id"], ondelete="CASCADE")


def _user_key() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["user_id"], ["users.id"], ondelete="CASCADE")


def _server_and_people() -> None:
    op.create_table(
        "server",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("identity", sa.String, nullable=False),
        sa.Column("key_check", sa.LargeBinary, nullable=False),
        sa.Column("last_port", sa.Integer, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_table(
        "users",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("admin", sa.Boolean, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
    )
    op.create_table(
        "keys",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("user_id", sa.String, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("fingerprint", sa.String, nullable=False, unique=True),
        sa.Column("public", sa.Text, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.UniqueConstraint("user_id", "name"),
        _user_key(),
    )


def _apps() -> None:
    op.create_table(
        "apps",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("name", sa.String, nullable=False, unique=True),
        sa.Column("token", sa.String, nullable=False),
        sa.Column("port", sa.Integer, nullable=False, unique=True),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("deploy_branch", sa.String),
        sa.Column("health_path", sa.String),
        sa.Column("boot_timeout", sa.Float, nullable=False),
        sa.Column("destroying", sa.Boolean, nullable=False),
        sa.Column("builds", sa.Integer, nullable=False),
        sa.Column("releases", sa.Integer, nullable=False),
    )
    op.create_table(
        "access",
        sa.Column("user_id", sa.String, primary_key=True),
        sa.Column("app_id", sa.String, primary_key=True),
        sa.Column("role", sa.String, nullable=False),
        _user_key(),
        _app_key(),
    )
    op.create_index("ix_access_app_id", "access", ["app_id"])
    op.create_table(
        "config",
        sa.Column("app_id", sa.String, primary_key=True),
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
        _app_key(),
    )
    op.create_table(
        "formation",
        sa.Column("app_id", sa.String, primary_key=True),
        sa.Column("process", sa.String, primary_key=True),
        sa.Column("quantity", sa.Integer, nullable=False),
        sa.CheckConstraint("quantity >= 0", name="quantity"),
        _app_key(),
    )


def _builds_and_releases() -> None:
    op.create_table(
        "builds",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("app_id", sa.String, nullable=False),
        sa.Column("number", sa.Integer, nullable=False),
        sa.Column("job_id", sa.String, nullable=False, unique=True),
        sa.Column("commit_id", sa.String, nullable=False),
        sa.Column("ref", sa.String, nullable=False),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("started_at", TIME),
        sa.Column("finished_at", TIME),
        sa.Column("failure", sa.Text),
        sa.Column("failure_id", sa.String),
        sa.Column("image", sa.String),
        sa.Column("provider", sa.String),
        sa.Column("processes", sa.JSON, nullable=False),
        sa.Column("release_command", sa.JSON),
        sa.Column("quarantine", sa.String),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.UniqueConstraint("app_id", "number"),
        _app_key(),
    )
    op.create_index("ix_builds_reusable", "builds", ["app_id", "commit_id"])
    op.create_table(
        "releases",
        sa.Column("id", sa.String, primary_key=True),
        sa.Column("app_id", sa.String, nullable=False),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("image", sa.String, nullable=False),
        sa.Column("commit_id", sa.String, nullable=False),
        sa.Column("processes", sa.JSON, nullable=False),
        sa.Column("release_command", sa.JSON),
        sa.Column("config", sa.LargeBinary, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("build_id", sa.String),
        sa.Column("failure", sa.Text),
        sa.UniqueConstraint("app_id", "version"),
        sa.ForeignKeyConstraint(["build_id"], ["builds.id"], ondelete="SET NULL"),
        _app_key(),
    )
    _unique_where("uq_releases_live", "releases", ["app_id"], "status = 'live'")


def _jobs_and_events() -> None:
    op.create_table(
        "jobs",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("id", sa.String, nullable=False, unique=True),
        sa.Column("app_id", sa.String, nullable=False),
        sa.Column("lane", sa.String, nullable=False),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("payload", sa.JSON, nullable=False),
        sa.Column("author", sa.String, nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("finished_at", TIME),
        sa.Column("owner", sa.String),
        sa.Column("heartbeat_at", TIME),
        sa.Column("result", sa.Text),
        sa.Column("coalesce", sa.String),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_jobs_app_id", "jobs", ["app_id"])
    op.create_index("ix_jobs_open", "jobs", ["status", "app_id", "lane"])
    _unique_where("uq_jobs_running", "jobs", ["app_id", "lane"], "status = 'running'")
    _unique_where("uq_jobs_waiting", "jobs", ["app_id", "coalesce"], "status = 'queued'")
    op.create_table(
        "events",
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("at", TIME, nullable=False),
        sa.Column("who", sa.String, nullable=False),
        sa.Column("action", sa.String, nullable=False),
        sa.Column("app_id", sa.String),
        sa.Column("detail", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_events_app_id", "events", ["app_id"])
