"""People and their keys."""

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, func, or_, select

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import Key, Role, User
from cygni.store import rows
from cygni.store.database import Database
from cygni.store.schema import AccessRow, AppRow, KeyRow, UserRow


class Users:
    """People and machines."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def ensure(self, name: str, admin: bool = False) -> User:
        """Return the user of that name, made if there is none; `admin` makes it an admin, never takes that away."""
        known = await self._database.read(_by_name, name)
        if known is not None and (known.admin or not admin):
            return known
        return await self._database.write(_ensure, name, admin)

    async def by_name(self, name: str) -> User | None:
        """Return the user of that name, None if there is none."""
        return await self._database.read(_by_name, name)

    async def set_admin(self, user_id: str, *, admin: bool) -> None:
        """Make a user a server admin, or take that away.

        Raises:
            NotFoundError: no such user.
            ConflictError: no server admin with a key would be left.
        """
        await self._database.write(_set_admin, user_id, admin)

    async def remove(self, user_id: str) -> None:
        """Remove a user with keys and roles.

        Raises:
            NotFoundError: no such user.
            ConflictError: the last server admin with a key, or the only owner of an app.
        """
        await self._database.write(_remove_user, user_id)

    async def get(self, user_id: str) -> User | None:
        """Return the user, None if there is none."""
        return await self._database.read(_get, user_id)

    async def list(self) -> list[User]:
        """Return all users by name."""
        return await self._database.read(_list)


class Keys:
    """Public SSH keys. A fingerprint is unique on the server, a name among a user's keys."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, user_id: str, name: str, public: str, fingerprint: str) -> Key:
        """Give a user a key.

        Raises:
            ConflictError: the fingerprint is known, or the user has a key of that name.
            NotFoundError: no such user.
        """
        return await self._database.write(_add_key, user_id, name, public, fingerprint)

    async def remove(self, name_or_fingerprint: str, user_id: str | None = None) -> Key:
        """Take a key away, of one user or of anyone.

        Raises:
            NotFoundError: no such key.
            ConflictError: several users have a key of that name, or it is the last server admin's last one.
        """
        return await self._database.write(_remove_key, name_or_fingerprint, user_id)

    async def used(self, fingerprint: str) -> None:
        """Note that somebody logged in with this key now; an unknown one is nothing."""
        await self._database.write(_used, fingerprint)

    async def list(self, user_id: str | None = None) -> list[Key]:
        """Return the keys of one user or all, oldest first."""
        return await self._database.read(_list_keys, user_id)

    async def by_fingerprint(self, fingerprint: str) -> tuple[User, Key] | None:
        """Return whose key it is, None if nobody's."""
        return await self._database.read(_by_fingerprint, fingerprint)


def _by_name(session: Session, name: str) -> User | None:
    row = session.exec(select(UserRow).where(col(UserRow.name) == name)).one_or_none()
    return rows.user(row) if row else None


def _ensure(session: Session, name: str, admin: bool) -> User:
    rows.lock_server(session)
    row = session.exec(select(UserRow).where(col(UserRow.name) == name)).one_or_none()
    if row is None:
        row = UserRow(id=rows.new_id(), name=name, admin=False, created_at=rows.now())
        session.add(row)
    row.admin = row.admin or admin
    return rows.user(row)


def _get(session: Session, user_id: str) -> User | None:
    row = session.get(UserRow, user_id)
    return rows.user(row) if row else None


def _list(session: Session) -> list[User]:
    return [rows.user(row) for row in session.exec(select(UserRow).order_by(col(UserRow.name)))]


def _add_key(session: Session, user_id: str, name: str, public: str, fingerprint: str) -> Key:
    rows.lock_server(session)
    if session.get(UserRow, user_id) is None:
        raise NotFoundError("There is no such user.")
    same_name = (col(KeyRow.user_id) == user_id) & (col(KeyRow.name) == name)
    taken = session.exec(select(KeyRow).where(or_(col(KeyRow.fingerprint) == fingerprint, same_name)))
    if taken.first() is not None:
        raise ConflictError("That key or its name is already registered.")
    row = KeyRow(
        id=rows.new_id(),
        user_id=user_id,
        name=name,
        fingerprint=fingerprint,
        public=public,
        created_at=rows.now(),
    )
    session.add(row)
    return rows.key(row)


def _remove_key(session: Session, name_or_fingerprint: str, user_id: str | None) -> Key:
    wanted = or_(col(KeyRow.name) == name_or_fingerprint, col(KeyRow.fingerprint) == name_or_fingerprint)
    query = select(KeyRow).where(wanted)
    if user_id is not None:
        query = query.where(col(KeyRow.user_id) == user_id)
    found = session.exec(query).all()
    if not found:
        raise NotFoundError(f"There is no key {name_or_fingerprint}.")
    if len(found) > 1:
        raise ConflictError(f"Several users have a key named {name_or_fingerprint}. Give its fingerprint.")
    owner = session.get(UserRow, found[0].user_id)
    if owner is not None and owner.admin:
        _check_admins(session, col(KeyRow.id) != found[0].id)
    session.delete(found[0])
    return rows.key(found[0])


def _check_admins(session: Session, staying: ColumnElement[bool]) -> None:
    """That somebody can still log in as a server admin with one of the keys that stay."""
    query = select(KeyRow.id).where(col(KeyRow.user_id) == col(UserRow.id), col(UserRow.admin), staying)
    if session.exec(query).first() is None:
        raise ConflictError("No server admin with a key would be left. Add another one first.")


def _used(session: Session, fingerprint: str) -> None:
    row = session.exec(select(KeyRow).where(col(KeyRow.fingerprint) == fingerprint)).one_or_none()
    if row is not None:
        row.last_used_at = rows.now()


def _locked_user(session: Session, user_id: str) -> UserRow:
    rows.lock_server(session)
    row = session.get(UserRow, user_id)
    if row is None:
        raise NotFoundError("There is no such user.")
    return row


def _set_admin(session: Session, user_id: str, admin: bool) -> None:
    row = _locked_user(session, user_id)
    if row.admin and not admin:
        _check_admins(session, col(KeyRow.user_id) != user_id)
    row.admin = admin


def _remove_user(session: Session, user_id: str) -> None:
    row = _locked_user(session, user_id)
    if row.admin:
        _check_admins(session, col(KeyRow.user_id) != user_id)
    if orphans := _owned_alone(session, user_id):
        raise ConflictError(
            f"{row.name} is the only owner of {', '.join(orphans)}. Give them another one first."
        )
    session.delete(row)


def _owned_alone(session: Session, user_id: str) -> list[str]:
    owners = (
        select(col(AccessRow.app_id).label("app_id"), func.max(AccessRow.user_id).label("user_id"))
        .where(col(AccessRow.role) == Role.OWNER.value)
        .group_by(col(AccessRow.app_id))
        .having(func.count() == 1)
        .subquery()
    )
    query = select(AppRow.name).where(col(AppRow.id) == owners.c.app_id, owners.c.user_id == user_id)
    return sorted(session.exec(query))


def _list_keys(session: Session, user_id: str | None) -> list[Key]:
    query = select(KeyRow).order_by(col(KeyRow.created_at), col(KeyRow.id))
    if user_id is not None:
        query = query.where(col(KeyRow.user_id) == user_id)
    return [rows.key(row) for row in session.exec(query)]


def _by_fingerprint(session: Session, fingerprint: str) -> tuple[User, Key] | None:
    query = select(UserRow, KeyRow).where(
        col(KeyRow.user_id) == col(UserRow.id), col(KeyRow.fingerprint) == fingerprint
    )
    found = session.exec(query).one_or_none()
    return (rows.user(found[0]), rows.key(found[1])) if found else None
