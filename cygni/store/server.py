"""This server's own row: who it is, and proof that the key file belongs to the database."""

import secrets
from pathlib import Path

from sqlmodel import Session, select

from cygni.domain.errors import ConflictError
from cygni.store.database import Database
from cygni.store.errors import DatabaseDamagedError, KeyFileError
from cygni.store.keyring import Keyring, load, load_or_create
from cygni.store.schema import ServerRow

PORT_MIN = 5000
_CHECK_PLAIN = "cygni"


class Server:
    """What is true of the whole server."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def identity(self) -> str:
        """Eight letters and digits, made once; labels what the server owns on an engine."""
        return await self._database.read(_identity)


async def unlock(database: Database, key_file: Path) -> Keyring:
    """Read the key file, or make it and the server's row for a new database.

    Raises:
        KeyFileError: missing, damaged, exposed, or of another database.
    """
    fresh = await database.read(_row) is None
    if not fresh and not key_file.exists():
        raise KeyFileError(
            f"{key_file} is missing, and without it the config values in the database cannot be read. "
            "Restore it from a backup."
        )
    keyring = load_or_create(key_file) if fresh else load(key_file)
    try:
        row = await database.write(_ensure_row, keyring)
    except ConflictError:  # another process made it meanwhile
        row = await database.write(_ensure_row, keyring)
    try:
        keyring.open(row.key_check, _context(row.identity))
    except (KeyFileError, DatabaseDamagedError):
        raise KeyFileError(
            f"{key_file} is not the key file of this database. Restore the one that was backed up with it."
        ) from None
    return keyring


def _row(session: Session) -> ServerRow | None:
    return session.exec(select(ServerRow)).one_or_none()


def _identity(session: Session) -> str:
    return session.exec(select(ServerRow)).one().identity


def _ensure_row(session: Session, keyring: Keyring) -> ServerRow:
    row = _row(session)
    if row is None:
        identity = secrets.token_hex(4)
        sealed = keyring.seal(_CHECK_PLAIN, _context(identity))
        row = ServerRow(identity=identity, key_check=sealed, last_port=PORT_MIN - 1)
        session.add(row)
    return row


def _context(identity: str) -> str:
    return f"server/{identity}"
