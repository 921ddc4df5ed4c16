"""Who may do what with which app."""

from sqlmodel import Session, col, select

from cygni.domain.errors import NotFoundError
from cygni.domain.models import Role, User
from cygni.store import rows
from cygni.store.database import Database
from cygni.store.schema import AccessRow, UserRow


class Access:
    """Roles of users on apps. A server admin is an admin of every app."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def role(self, user: User, app_id: str) -> Role | None:
        """Return the user's role on the app, None for none."""
        if user.admin:
            return Role.ADMIN
        return await self._database.read(_role, user.id, app_id)

    async def list(self, app_id: str) -> list[tuple[User, Role]]:
        """Return who was given a role on the app, by name."""
        return await self._database.read(_list, app_id)

    async def grant(self, user_id: str, app_id: str, role: Role) -> None:
        """Give or change a role.

        Raises:
            NotFoundError: no such user or app.
        """
        await self._database.write(_grant, user_id, app_id, role)

    async def revoke(self, user_id: str, app_id: str) -> None:
        """Take the role away, if there is one."""
        await self._database.write(_revoke, user_id, app_id)


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
    session.merge(AccessRow(user_id=user_id, app_id=app_id, role=role.value))


def _revoke(session: Session, user_id: str, app_id: str) -> None:
    row = session.get(AccessRow, (user_id, app_id))
    if row is not None:
        session.delete(row)
