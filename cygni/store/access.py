"""Who may do what with which app."""

from sqlmodel import Session, col, select

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import Role, User
from cygni.store import rows
from cygni.store.database import Database
from cygni.store.schema import AccessRow, UserRow


class Access:
    """Roles of users on apps. A server admin is an owner of every app."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def role(self, user: User, app_id: str) -> Role | None:
        """Return the user's role on the app, None for none."""
        if user.admin:
            return Role.OWNER
        return await self._database.read(_role, user.id, app_id)

    async def list(self, app_id: str) -> list[tuple[User, Role]]:
        """Return who was given a role on the app, by name."""
        return await self._database.read(_list, app_id)

    async def grant(self, user_id: str, app_id: str, role: Role) -> None:
        """Give or change a role.

        Raises:
            NotFoundError: no such user or app.
            ConflictError: the app would have no owner.
        """
        await self._database.write(_grant, user_id, app_id, role)

    async def revoke(self, user_id: str, app_id: str) -> bool:
        """Take the role away; False when there was none.

        Raises:
            NotFoundError: no such app.
            ConflictError: the app would have no owner.
        """
        return await self._database.write(_revoke, user_id, app_id)


def _role(session: Session, user_id: str, app_id: str) -> Role | None:
    row = session.get(AccessRow, (user_id, app_id))
    return Role(row.role) if row else None


def _list(session: Session, app_id: str) -> list[tuple[User, Role]]:
    query = (
        select(UserRow, AccessRow)
        .where(col(AccessRow.user_id) == col(UserRow.id), col(AccessRow.app_id) == app_id)
        .order_by(col(UserRow.name))
    )
    return [(rows.user(user), Role(access.role)) for user, access in session.exec(query)]


def _grant(session: Session, user_id: str, app_id: str, role: Role) -> None:
    rows.lock_app(session, app_id)
    if session.get(UserRow, user_id) is None:
        raise NotFoundError("There is no such user.")
    if role is not Role.OWNER:
        _check_owners(session, user_id, app_id)
    session.merge(AccessRow(user_id=user_id, app_id=app_id, role=role.value))


def _revoke(session: Session, user_id: str, app_id: str) -> bool:
    rows.lock_app(session, app_id)
    row = session.get(AccessRow, (user_id, app_id))
    if row is None:
        return False
    _check_owners(session, user_id, app_id)
    session.delete(row)
    return True


def _check_owners(session: Session, leaving: str, app_id: str) -> None:
    """That one who leaves is not the only owner."""
    owners = select(AccessRow.user_id).where(
        col(AccessRow.app_id) == app_id, col(AccessRow.role) == Role.OWNER.value
    )
    if set(session.exec(owners)) == {leaving}:
        raise ConflictError("An app needs an owner: make somebody else its owner first.")
