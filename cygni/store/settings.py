"""What people set per app and the next release takes: config variables and formation."""

from collections.abc import Collection, Mapping

from sqlmodel import Session, col, select

from cygni.domain.models import Job, Quantity
from cygni.store import queue, rows
from cygni.store.database import Database
from cygni.store.keyring import Keyring
from cygni.store.schema import ConfigRow, FormationRow
from cygni.store.sealing import open_value, seal_value


class Config:
    """Config variables; values are sealed before they reach the database."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def get(self, app_id: str) -> dict[str, str]:
        """Return all variables by name; none for an unknown app."""
        return await self._database.read(read_config, self._keyring, app_id)

    async def change(
        self, app_id: str, changes: Mapping[str, str | None], *, author: str, job_kind: str | None
    ) -> tuple[dict[str, str], Job | None]:
        """Set variables, or remove those that are None, and enqueue the job that rolls it out: both or neither.

        A waiting job of the kind is used again. Returns all variables, and the job if a kind was given.

        Raises:
            NotFoundError: no such app.
            ConflictError: it is being destroyed.
        """
        return await self._database.write(self._change, app_id, changes, author, job_kind)

    def _change(
        self,
        session: Session,
        app_id: str,
        changes: Mapping[str, str | None],
        author: str,
        job_kind: str | None,
    ) -> tuple[dict[str, str], Job | None]:
        rows.lock_working_app(session, app_id)
        for name, value in changes.items():
            set_value(session, self._keyring, app_id, name, value)
        session.flush()
        return read_config(session, self._keyring, app_id), roll_out(
            session, app_id, changes, author, job_kind
        )


class Formation:
    """How many processes of each type were asked for; types nobody asked for are not in it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, app_id: str) -> dict[str, int]:
        """Return the quantity by process type, 0 for a stopped one; none for an unknown app."""
        return {item.process: item.running for item in await self.asked(app_id)}

    async def asked(self, app_id: str) -> list[Quantity]:
        """Return what was asked for, also of types that are stopped."""
        return await self._database.read(_read_formation, app_id)

    async def change(
        self, app_id: str, changes: Mapping[str, int], *, author: str, job_kind: str | None
    ) -> tuple[dict[str, int], Job | None]:
        """Set quantities and enqueue the job that makes it so: both or neither, as `Config.change`.

        A stopped type is started by it.

        Raises:
            NotFoundError: no such app.
            ConflictError: it is being destroyed, or a quantity is negative.
        """
        return await self._database.write(_change_formation, app_id, changes, author, job_kind)

    async def stop(
        self, app_id: str, quantities: Mapping[str, int], *, author: str, job_kind: str | None
    ) -> Job | None:
        """Stop these types, keeping the quantity in mind, and enqueue the job that makes it so.

        Raises:
            NotFoundError: no such app.
            ConflictError: it is being destroyed.
        """
        return await self._database.write(_stop, app_id, quantities, author, job_kind)

    async def start(
        self, app_id: str, processes: Collection[str] | None, *, author: str, job_kind: str | None
    ) -> Job | None:
        """Start these stopped types again, all for None; returns None where nothing was stopped.

        Raises:
            NotFoundError: no such app.
            ConflictError: it is being destroyed.
        """
        return await self._database.write(_start, app_id, processes, author, job_kind)


def read_config(session: Session, keyring: Keyring, app_id: str) -> dict[str, str]:
    """Return an app's config inside a transaction."""
    query = select(ConfigRow).where(col(ConfigRow.app_id) == app_id).order_by(col(ConfigRow.name))
    return {row.name: open_value(keyring, row.value, app_id, row.name) for row in session.exec(query)}


def set_value(session: Session, keyring: Keyring, app_id: str, name: str, value: str | None) -> None:
    """Set a variable inside a transaction, or remove it (None)."""
    row = session.get(ConfigRow, (app_id, name))
    if value is not None:
        sealed = seal_value(keyring, value, app_id, name)
        session.merge(ConfigRow(app_id=app_id, name=name, value=sealed))
    elif row is not None:
        session.delete(row)


def _read_formation(session: Session, app_id: str) -> list[Quantity]:
    query = select(FormationRow).where(col(FormationRow.app_id) == app_id).order_by(col(FormationRow.process))
    return [Quantity(row.process, row.quantity, row.stopped_at) for row in session.exec(query)]


def _stop(
    session: Session, app_id: str, quantities: Mapping[str, int], author: str, job_kind: str | None
) -> Job | None:
    rows.lock_working_app(session, app_id)
    for process, quantity in quantities.items():
        session.merge(FormationRow(app_id=app_id, process=process, quantity=quantity, stopped_at=rows.now()))
    session.flush()
    return roll_out(session, app_id, quantities, author, job_kind)


def _start(
    session: Session, app_id: str, processes: Collection[str] | None, author: str, job_kind: str | None
) -> Job | None:
    rows.lock_working_app(session, app_id)
    query = select(FormationRow).where(
        col(FormationRow.app_id) == app_id, col(FormationRow.stopped_at).is_not(None)
    )
    stopped = [row for row in session.exec(query) if processes is None or row.process in processes]
    for row in stopped:
        row.stopped_at = None
    session.flush()
    return roll_out(session, app_id, {row.process: row.quantity for row in stopped}, author, job_kind)


def _change_formation(
    session: Session, app_id: str, changes: Mapping[str, int], author: str, job_kind: str | None
) -> tuple[dict[str, int], Job | None]:
    rows.lock_working_app(session, app_id)
    for process, quantity in changes.items():
        session.merge(FormationRow(app_id=app_id, process=process, quantity=quantity, stopped_at=None))
    session.flush()
    present = {item.process: item.running for item in _read_formation(session, app_id)}
    return present, roll_out(session, app_id, changes, author, job_kind)


def roll_out(
    session: Session, app_id: str, changes: Mapping[str, object], author: str, job_kind: str | None
) -> Job | None:
    """Let a waiting job of the kind carry a change out too, or enqueue one, in the caller's transaction.

    Also when nothing differs: setting it again is how a person repeats a roll-out that failed.
    """
    if job_kind is None or not changes:
        return None
    return rows.job(queue.add_or_join(session, app_id, job_kind, changes, author))
