"""One server at a time on a PostgreSQL database, wherever it runs; `serve.lock` sees one machine only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine
from sqlalchemy.pool import NullPool

from cygni.store.database import translated
from cygni.store.dumps import kind_of
from cygni.store.engine import create_engine
from cygni.store.errors import StoreError

KEY = 0x6379676E6A
WAIT_SECONDS = 10.0
"""The database may take a moment to notice that the one before has died."""


@asynccontextmanager
async def sole_server(url: str) -> AsyncIterator[None]:
    """Hold the database for as long as this connection to it lives.

    Raises:
        StoreError: another server holds it.
    """
    if kind_of(url) != "postgresql":
        yield
        return
    engine = create_async_engine(
        create_engine(url).url, hide_parameters=True, poolclass=NullPool, isolation_level="AUTOCOMMIT"
    )
    try:
        with translated():
            connection = await engine.connect()
        try:
            with translated():
                await _take(connection)
            yield
        finally:
            await connection.close()
    finally:
        await engine.dispose()


async def _take(connection: AsyncConnection) -> None:
    deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
    while not (await connection.execute(text("SELECT pg_try_advisory_lock(:key)"), {"key": KEY})).scalar():
        if asyncio.get_running_loop().time() > deadline:
            raise StoreError(
                "Another server uses the database of CYGNI_DATABASE_URL. One control plane at a time: stop that one first."
            )
        await asyncio.sleep(0.2)
