"""Transactions: plain functions of a Session, run whole or not at all, whatever happens to the caller."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlmodel import Session
from sqlmodel.ext.asyncio.session import AsyncSession

from cygni.domain.errors import ConflictError, CygniError
from cygni.store.engine import BEGIN_OPTION
from cygni.store.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseUnreachableError,
    DiskFullError,
    StoreError,
)
from cygni.store.listening import Listener
from cygni.store.notifier import Notifier

P = ParamSpec("P")
T = TypeVar("T")

WRITE_TURN_SECONDS = 30.0
_TOPICS = "topics"


class Database:
    """Runs transactions and, after a commit, publishes what they announced.

    A transaction that has begun is carried to its end even when its caller is cancelled, so a connection is
    never left in the middle of a statement and a commit never goes unannounced.
    """

    def __init__(self, engine: AsyncEngine, notifier: Notifier) -> None:
        self.engine = engine
        self.notifier = notifier
        self._writer = engine.execution_options(**{BEGIN_OPTION: "BEGIN IMMEDIATE"})
        self._reader = engine
        self._listener: Listener | None = None
        if engine.dialect.name == "postgresql":
            # A function that reads twice must not see two states; SQLite's transactions never do.
            self._reader = engine.execution_options(isolation_level="REPEATABLE READ")
            self._listener = Listener(engine, notifier)
        # SQLite has one writer. Waiting here is fair and wakes at once; SQLite's own wait is neither.
        self._turn = asyncio.Lock() if engine.dialect.name == "sqlite" else None

    async def read(
        self, transaction: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that only reads, on one snapshot."""
        return await _to_its_end(self._read(lambda session: transaction(session, *args, **kwargs)))

    async def write(
        self, transaction: Callable[Concatenate[Session, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that writes, and commit.

        Raises:
            StoreError: nothing was written: the disk is full, the database damaged.
            TransientError: nothing was written: others held the database for too long.
            ConflictError: nothing was written: another transaction got in the way.
        """
        async with self._turn_to_write():
            return await _to_its_end(self._write(lambda session: transaction(session, *args, **kwargs)))

    async def listen(self) -> None:
        """Hear from now on what other processes announce, where the database can carry it."""
        if self._listener is not None:
            await self._listener.start()

    async def close(self) -> None:
        """Close all connections."""
        if self._listener is not None:
            await self._listener.close()
        await self.engine.dispose()

    async def _read(self, work: Callable[[Session], T]) -> T:
        with translated():
            async with AsyncSession(self._reader, expire_on_commit=False) as session:
                return await session.run_sync(work)  # type: ignore[arg-type]

    async def _write(self, work: Callable[[Session], T]) -> T:
        with translated():
            async with AsyncSession(self._writer, expire_on_commit=False) as session, session.begin():
                result = await session.run_sync(self._announcing(work))  # type: ignore[arg-type]
        for topic in session.info.get(_TOPICS, ()):
            self.notifier.publish(topic)
        return result

    def _announcing(self, work: Callable[[Session], T]) -> Callable[[Session], T]:
        """The work, then its announcements to other processes, which go out with the commit."""
        listener = self._listener
        if listener is None:
            return work

        def both(session: Session) -> T:
            result = work(session)
            for topic in session.info.get(_TOPICS, ()):
                listener.announce(session, topic)
            return result

        return both

    @asynccontextmanager
    async def _turn_to_write(self) -> AsyncIterator[None]:
        if self._turn is None:
            yield
            return
        try:
            async with asyncio.timeout(WRITE_TURN_SECONDS):
                await self._turn.acquire()
        except TimeoutError:
            raise DatabaseBusyError("The database had no time for this change. Try again.") from None
        try:
            yield
        finally:
            self._turn.release()


def announce(session: Session, topic: str) -> None:
    """Publish a topic once this transaction is committed."""
    session.info.setdefault(_TOPICS, set()).add(topic)


async def _to_its_end(work: Coroutine[None, None, T]) -> T:
    """Await without passing a cancellation on; it takes effect once the work has ended."""
    task = asyncio.create_task(work)
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is None or task.cancelled():
        return task.result()
    task.exception()  # seen: nobody is left to tell it to
    raise cancelled


@contextmanager
def translated() -> Iterator[None]:
    """Turn the driver's errors into typed ones."""
    try:
        yield
    except exc.IntegrityError as error:
        raise ConflictError("Someone else changed this at the same moment. Try again.") from error
    except exc.TimeoutError as error:
        raise DatabaseBusyError("The database has no free connection. Try again.") from error
    except exc.DBAPIError as error:
        raise _typed(error.orig) from error
    except sqlite3.Error as error:
        raise _typed(error) from error
    except OSError as error:  # what the driver says of a database server that cannot be reached
        raise DatabaseUnreachableError(f"The database server does not answer: {error}.") from error


def _typed(error: BaseException | None) -> CygniError:
    """By SQLite's error name or the standard's SQLSTATE; both drivers keep it on the original error."""
    code = _code(error)
    if code.startswith("SQLITE_FULL") or code == "53100":
        return DiskFullError(
            "The database's disk is full, nothing was changed. Free some space, then try again."
        )
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")) or code in {"40001", "40P01", "55P03", "57014"}:
        return DatabaseBusyError("The database was busy for too long, nothing was changed. Try again.")
    if code.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB", "XX")):
        return DatabaseDamagedError("The database is damaged. Restore it from a backup.")
    if code.startswith(("08", "57P")):
        return DatabaseUnreachableError("The database server does not answer.")
    # Not the driver's text, which may quote what is stored; it is the cause, for the log.
    return StoreError(f"The database refused a statement ({code or type(error).__name__}).")


def _code(error: BaseException | None) -> str:
    while error is not None:
        code = getattr(error, "sqlite_errorname", None) or getattr(error, "sqlstate", None)
        if code:
            return str(code)
        error = error.__cause__
    return ""
