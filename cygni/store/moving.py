"""Moves a whole database from SQLite to PostgreSQL, while no server runs."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Table, func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from cygni.store.database import translated
from cygni.store.dumps import is_empty, kind_of
from cygni.store.engine import create_engine
from cygni.store.errors import StoreError
from cygni.store.migrate import migrate
from cygni.store.schema import metadata

MOVED = ".moved"
"""Added to the name of a file whose contents are elsewhere now."""
BATCH = 500
NUMBERED = ("jobs", "events")
"""Tables whose `seq` the database counts."""


async def move(file: Path, url: str) -> dict[str, int]:
    """Copy every row into an empty PostgreSQL database, in one transaction, and compare; returns rows by table.

    The file is then renamed, so that nobody goes on with it by mistake.

    Raises:
        StoreError: it is no such database, it is not empty, or not every row arrived; the file is as it was.
    """
    if not file.exists():
        raise StoreError(f"There is no database {file} to move.")
    if kind_of(url) != "postgresql":
        raise StoreError("The target must be postgresql://USER:PASSWORD@HOST/NAME.")
    if not await is_empty(url):
        raise StoreError("The target database is not empty. Make a new one for the move.")
    source, target = create_engine(f"sqlite:///{file}"), create_engine(url)
    try:
        await migrate(source)
        await migrate(target)
        with translated():
            async with source.connect() as origin, target.begin() as goal:
                counts = {table.name: await _copy(origin, goal, table) for table in metadata.sorted_tables}
                await _count_on(origin, goal)
            await _checkpoint(source)
    finally:
        await source.dispose()
        await target.dispose()
    file.rename(file.with_name(file.name + MOVED))
    return counts


async def _copy(origin: AsyncConnection, goal: AsyncConnection, table: Table) -> int:
    async for rows in _batches(origin, table):
        await goal.execute(table.insert(), [*rows])
    count = select(func.count()).select_from(table)
    there, here = (await goal.execute(count)).scalar_one(), (await origin.execute(count)).scalar_one()
    if there != here:
        raise StoreError(f"Of {here} rows of {table.name} {there} arrived. Nothing was changed.")
    return int(here)


async def _batches(origin: AsyncConnection, table: Table) -> AsyncIterator[Sequence[dict[str, Any]]]:
    result = await origin.stream(select(table))
    async for rows in result.mappings().partitions(BATCH):
        yield [dict(row) for row in rows]


async def _count_on(origin: AsyncConnection, goal: AsyncConnection) -> None:
    """A number that was given out once, also to a row that is gone, is not given again."""
    for table in NUMBERED:
        last = (
            await origin.execute(text("SELECT seq FROM sqlite_sequence WHERE name = :name"), {"name": table})
        ).scalar()
        if last:
            setval = text("SELECT setval(pg_get_serial_sequence(:name, 'seq'), :last)")
            await goal.execute(setval, {"name": table, "last": last})


async def _checkpoint(source: Any) -> None:
    """Leave everything in the one file that is kept."""
    async with source.connect() as connection:
        raw = (await connection.get_raw_connection()).driver_connection
        await connection.rollback()
        await raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
