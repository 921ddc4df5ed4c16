"""SQLAlchemy engines as this store needs them: SQLite in WAL mode embedded, PostgreSQL by URL."""

import asyncio
import os
import random
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event, make_url
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from cygni.store.errors import StoreError

DRIVERS = {"sqlite": "sqlite+aiosqlite", "postgresql": "postgresql+asyncpg", "postgres": "postgresql+asyncpg"}
BUSY_SECONDS = 10.0
CONNECTIONS = 5
BEGIN_OPTION = "cygni_begin"

PRAGMAS = (
    "synchronous=FULL",  # NORMAL may lose the last commits on power loss; what was acknowledged must stay
    "foreign_keys=ON",
    f"busy_timeout={int(BUSY_SECONDS * 1000)}",
    "journal_size_limit=67108864",  # bytes that the write-ahead log keeps after a burst
)


def create_engine(url: str) -> AsyncEngine:
    """An engine for `sqlite:///PATH` or `postgresql://…`, with or without the driver's name.

    Raises:
        StoreError: for another kind of database, or SQLite in memory, which keeps no promise.
    """
    parsed = make_url(url)
    drivername = DRIVERS.get(parsed.get_backend_name())
    if drivername is None:
        raise StoreError(
            f"{parsed.get_backend_name()} is not supported. Use sqlite:///PATH or postgresql://…."
        )
    parsed = parsed.set(drivername=drivername)
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed)
    return _pooled(parsed, pool_pre_ping=True, connect_args={"server_settings": _server_settings()})


async def prepare(engine: AsyncEngine) -> None:
    """Put an SQLite database into write-ahead mode, which its file remembers. Raises the driver's errors."""
    if engine.dialect.name == "sqlite":
        await asyncio.to_thread(_switch_to_wal, str(engine.url.database))


def _server_settings() -> dict[str, str]:
    """Of each connection to PostgreSQL: nobody waits for a lock for ever, and no dead one keeps one."""
    busy = str(int(BUSY_SECONDS * 1000))
    return {"application_name": "cygni", "lock_timeout": busy, "idle_in_transaction_session_timeout": "60000"}


def _sqlite(url: URL) -> AsyncEngine:
    if not url.database or url.database == ":memory:":
        raise StoreError("A database in memory does not outlive the server. Use sqlite:///PATH.")
    _create_private(Path(url.database))
    engine = _pooled(url)
    event.listen(engine.sync_engine, "connect", _configure)
    event.listen(engine.sync_engine, "begin", _begin)
    return engine


def _pooled(url: URL, **options: Any) -> AsyncEngine:
    """Errors must not show statement parameters; the pool is the bound on connections and threads."""
    return create_async_engine(
        url, hide_parameters=True, pool_size=CONNECTIONS, max_overflow=0, pool_timeout=BUSY_SECONDS, **options
    )


def _create_private(path: Path) -> None:
    """SQLite gives its log files the mode of the database, so the database starts readable by its owner only."""
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise StoreError(f"The database {path} cannot be opened: {error.strerror}.") from error


def _switch_to_wal(path: str) -> None:
    """SQLite refuses at once, without its own waiting, while another process uses a database in the old mode."""
    deadline = time.monotonic() + BUSY_SECONDS
    with closing(sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)) as connection:
        while True:
            try:
                connection.execute("PRAGMA journal_mode=WAL")
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                    raise
                time.sleep(random.uniform(0.01, 0.05))  # noqa: S311  # no secret
            else:
                return


def _configure(connection: Any, _record: Any) -> None:
    # Without this the driver starts transactions by itself, and late; `_begin` does it.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin(connection: Connection) -> None:
    """A writer takes the write lock at once: upgrading a read lock later could deadlock.

    Straight on the driver: by way of a cursor it would take three trips to the connection's thread.
    """
    statement = connection.get_execution_options().get(BEGIN_OPTION, "BEGIN")
    driver: Any = connection.connection.dbapi_connection
    driver.run_async(lambda aiosqlite: aiosqlite.execute(statement))
