"""Brings a database to this version's schema when it is opened. Forward only."""

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import Connection, inspect, text
from sqlalchemy.ext.asyncio import AsyncEngine

from cygni.store.database import translated
from cygni.store.engine import BEGIN_OPTION
from cygni.store.errors import DatabaseBusyError, DatabaseVersionError

MIGRATIONS = Path(__file__).with_name("migrations")
VERSION_TABLE = "alembic_version"
TURN_SECONDS = 60
LOCK_KEY = 0x6379676E69  # "cygni"; a number is how PostgreSQL names an advisory lock

# Alembic keeps the migration that runs in module globals, so one process runs one at a time.
_alembic = threading.Lock()


def head() -> str:
    """The newest revision: migrations are files `NNNN_what.py` with the revision `NNNN`."""
    return max(path.name[:4] for path in (MIGRATIONS / "versions").glob("[0-9][0-9][0-9][0-9]_*.py"))


async def migrate(engine: AsyncEngine) -> None:
    """Run what is missing, in one transaction; of two processes at once the second finds it done.

    Raises:
        DatabaseVersionError: a newer Cygni wrote this database.
        StoreError: the database cannot be used.
    """
    with translated():
        async with engine.connect() as connection:
            if await connection.run_sync(_revision) == head():
                return
        writer = engine.execution_options(**{BEGIN_OPTION: "BEGIN IMMEDIATE"})
        async with _turn(), writer.begin() as connection:
            await connection.run_sync(_upgrade)


@asynccontextmanager
async def _turn() -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(TURN_SECONDS):
            while not _alembic.acquire(blocking=False):
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise DatabaseBusyError("Another migration in this process does not end.") from None
    try:
        yield
    finally:
        _alembic.release()


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    return connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  # a constant


def _upgrade(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite's writers take turns anyway
        connection.execute(text(f"SET LOCAL lock_timeout = '{TURN_SECONDS}s'"))
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK_KEY})
    revision = _revision(connection)
    if revision is not None and revision > head():
        raise DatabaseVersionError(
            f"The database has revision {revision}, this Cygni knows only {head()}: "
            "a newer Cygni wrote it. Install that one or newer."
        )
    # Late, because a database that is up to date, the usual case, does not need it.
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    command.upgrade(config, "head")
