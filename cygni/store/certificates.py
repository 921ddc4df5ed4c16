"""Certificates of the server; their keys are sealed before they reach the database."""

from sqlmodel import Session, col, select

from cygni.domain.errors import NotFoundError
from cygni.domain.models import Certificate
from cygni.store.database import Database
from cygni.store.keyring import Keyring
from cygni.store.schema import CertificateRow


class Certificates:
    """What the router shows, by name."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def list(self) -> list[Certificate]:
        """Return all, by name."""
        return await self._database.read(_list, self._keyring)

    async def put(self, certificate: Certificate) -> None:
        """Keep one, in place of the one of its name."""
        await self._database.write(_put, self._keyring, certificate)

    async def remove(self, name: str) -> None:
        """Forget one.

        Raises:
            NotFoundError: there is none of that name.
        """
        await self._database.write(_remove, name)


def _list(session: Session, keyring: Keyring) -> list[Certificate]:
    found = session.exec(select(CertificateRow).order_by(col(CertificateRow.name)))
    return [
        Certificate(
            row.name, tuple(row.hosts), row.chain, keyring.open(row.key, _context(row.name)), row.expires_at
        )
        for row in found
    ]


def _put(session: Session, keyring: Keyring, certificate: Certificate) -> None:
    session.merge(
        CertificateRow(
            name=certificate.name,
            hosts=list(certificate.hosts),
            chain=certificate.chain,
            key=keyring.seal(certificate.key, _context(certificate.name)),
            expires_at=certificate.expires_at,
        )
    )


def _remove(session: Session, name: str) -> None:
    row = session.get(CertificateRow, name)
    if row is None:
        raise NotFoundError(f"There is no certificate {name}.")
    session.delete(row)


def _context(name: str) -> str:
    return f"certificate/{name}"
