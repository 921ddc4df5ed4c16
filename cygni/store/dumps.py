"""Copies of a whole database, consistent while others write: SQLite by its online backup, PostgreSQL by pg_dump."""

import asyncio
import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.ext.asyncio import AsyncConnection

from cygni.store.database import translated
from cygni.store.engine import create_engine
from cygni.store.errors import DatabaseDamagedError, StoreError

DEBIAN = Path("/usr/lib/postgresql")
BUSY_SECONDS = 30.0
ADVICE = "Move the state directory away and restore a backup: cygni restore DIR (docs/backup.md)."


@dataclass(frozen=True)
class Live:
    """A release that serves."""

    app_id: str
    version: int
    commit: str


@dataclass(frozen=True)
class Facts:
    """What is in a copy, as far as the rest of a backup depends on it."""

    kind: str
    """`sqlite` or `postgresql`."""
    identity: str
    revision: str
    apps: dict[str, str]
    """Names by id."""
    live: tuple[Live, ...]


def kind_of(url: str) -> str:
    """`sqlite` or `postgresql`."""
    return make_url(url).get_backend_name()


def file_of(url: str) -> Path:
    """The file of an SQLite database."""
    return Path(str(make_url(url).database))


async def dump(url: str, file: Path) -> Facts:
    """Copy the database into a new file, and say what is in it.

    Raises:
        StoreError: the database cannot be used, is damaged, or PostgreSQL's programs are missing.
    """
    with translated():
        if kind_of(url) == "sqlite":
            await asyncio.to_thread(_copy, file_of(url), file)
            return await _facts_of(f"sqlite:///{file}")
        return await _dump_postgresql(url, file)


async def is_empty(url: str) -> bool:
    """Whether a PostgreSQL database has no table yet."""
    count = text("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()")
    engine = create_engine(url)
    try:
        with translated():
            async with engine.connect() as connection:
                return (await connection.execute(count)).scalar() == 0
    finally:
        await engine.dispose()


async def load_postgresql(url: str, file: Path) -> None:
    """Fill an empty PostgreSQL database from its dump, whole or not at all.

    Raises:
        StoreError: pg_restore is missing or fails.
    """
    words = ["--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"]
    await _run("pg_restore", [*words, f"--dbname={make_url(url).database}", str(file)], url)


def check_file(file: Path, *, quick: bool = False) -> None:
    """Check every page of an SQLite database; `quick` leaves out whether indexes and tables agree.

    Raises:
        DatabaseDamagedError: it is not what was written.
    """
    try:
        with closing(sqlite3.connect(file)) as connection:
            what = "quick_check" if quick else "integrity_check"
            found = connection.execute(f"PRAGMA {what}(1)").fetchone()
    except sqlite3.Error as error:
        raise DatabaseDamagedError(f"The database {file} is damaged ({error}). {ADVICE}") from error
    if found != ("ok",):
        raise DatabaseDamagedError(f"The database {file} is damaged ({found[0]}). {ADVICE}")


def _copy(source: Path, target: Path) -> None:
    """In one step, which reads one snapshot and keeps no writer waiting; then alone in its file."""
    with closing(
        sqlite3.connect(f"file:{_quoted(source)}?mode=ro", uri=True, timeout=BUSY_SECONDS)
    ) as origin:
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        with closing(sqlite3.connect(target)) as copy:
            origin.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
    check_file(target)


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


async def _facts_of(url: str) -> Facts:
    engine = create_engine(url)
    try:
        async with engine.connect() as connection:
            return await _facts(connection)
    finally:
        await engine.dispose()


async def _facts(connection: AsyncConnection) -> Facts:
    """Plain SQL on columns that every version has: the copy may be older than this program."""
    identity = (await connection.execute(text("SELECT identity FROM server"))).scalar_one()
    revision = (await connection.execute(text("SELECT version_num FROM alembic_version"))).scalar_one()
    apps = await connection.execute(text("SELECT id, name FROM apps"))
    live = await connection.execute(
        text("SELECT app_id, version, commit_id FROM releases WHERE status = 'live'")
    )
    return Facts(
        connection.dialect.name,
        identity,
        revision,
        {row.id: row.name for row in apps},
        tuple(Live(row.app_id, row.version, row.commit_id) for row in live),
    )


async def _dump_postgresql(url: str, file: Path) -> Facts:
    """pg_dump works on the snapshot of our transaction, so that the facts are those of the dump."""
    engine = create_engine(url)
    try:
        reader = engine.execution_options(isolation_level="REPEATABLE READ")
        async with reader.connect() as connection:
            # While pg_dump works, this transaction waits for as long as it takes.
            await connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = 0"))
            facts = await _facts(connection)
            snapshot = (await connection.execute(text("SELECT pg_export_snapshot()"))).scalar_one()
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
            words = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}"]
            await _run("pg_dump", [*words, f"--file={file}"], url)
            return facts
    finally:
        await engine.dispose()


async def _run(program: str, words: Sequence[str], url: str) -> None:
    process = await asyncio.create_subprocess_exec(
        _find(program),
        *words,
        env={"PATH": os.defpath, "LC_ALL": "C", **_environment(make_url(url))},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await process.communicate()
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines()
        raise StoreError(f"{program} failed: {lines[-1] if lines else process.returncode}")


def _find(program: str) -> str:
    newest = max(DEBIAN.glob(f"*/bin/{program}"), key=lambda path: float(path.parts[-3]), default=None)
    found = str(newest) if newest else shutil.which(program)
    if found is None:
        raise StoreError(f"{program} is missing. Install it: apt install postgresql-client")
    return found


def _environment(url: URL) -> dict[str, str]:
    """The URL as libpq's variables: the password must not be on a command line."""
    options = {name: value if isinstance(value, str) else value[0] for name, value in url.query.items()}
    wanted = {
        "PGHOST": url.host or options.get("host"),
        "PGPORT": str(url.port) if url.port else options.get("port"),
        "PGUSER": url.username,
        "PGPASSWORD": str(url.password) if url.password else None,
        "PGDATABASE": url.database,
        "PGSSLMODE": options.get("ssl") or options.get("sslmode"),
    }
    return {name: value for name, value in wanted.items() if value}
