"""Apps."""

import secrets

from sqlmodel import Session, col, select

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, HealthSettings, Job, JobStatus, Role, User
from cygni.store import queue, rows
from cygni.store.database import Database
from cygni.store.schema import AccessRow, AppRow, ConfigRow, FormationRow, JobRow, ServerRow, UserRow
from cygni.store.server import PORT_MIN

PORT_MAX = 32767
"""Above are the ports that kernels give to outgoing connections."""


class Apps:
    """Apps by name, by id, by who may see them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(self, name: str, owner_id: str) -> App:
        """Make an app with a port of its own, and give it its first owner.

        Raises:
            ConflictError: the name is taken, or every port is.
            NotFoundError: no such user.
        """
        return await self._database.write(_create, name, owner_id)

    async def by_name(self, name: str) -> App | None:
        """Return the app of that name."""
        return await self._database.read(_by_name, name)

    async def by_id(self, app_id: str) -> App | None:
        """Return the app of that id."""
        return await self._database.read(_by_id, app_id)

    async def visible_to(self, user: User) -> list[App]:
        """Return the apps that a user has a role on, all for a server admin; by name."""
        return await self._database.read(_visible_to, user)

    async def all(self) -> list[App]:
        """Return every app by name."""
        return await self._database.read(_all)

    async def set_deploy_branch(self, app_id: str, branch: str | None) -> None:
        """Name the branch that builds.

        Raises:
            NotFoundError: no such app.
        """
        await self._database.write(_set_deploy_branch, app_id, branch)

    async def set_health(self, app_id: str, health: HealthSettings) -> None:
        """Replace the health check's settings.

        Raises:
            NotFoundError: no such app.
        """
        await self._database.write(_set_health, app_id, health)

    async def rename(self, app_id: str, name: str) -> App:
        """Give the app another name; id, port and all that hangs on it stay.

        Raises:
            NotFoundError: no such app.
            ConflictError: the name is taken, or the app is being destroyed.
        """
        return await self._database.write(_rename, app_id, name)

    async def set_lock(self, app_id: str, locked_by: str | None) -> None:
        """Forbid changes in somebody's name, or (None) allow them again.

        Raises:
            NotFoundError: no such app.
        """
        await self._database.write(_set_lock, app_id, locked_by)

    async def mark_destroying(
        self, app_id: str, *, author: str = "", job_kind: str | None = None
    ) -> Job | None:
        """Refuse builds, releases and changes from now on, and enqueue the job that removes the app: both or neither.

        A waiting job of the kind is used again.

        Raises:
            NotFoundError: no such app.
        """
        return await self._database.write(_mark_destroying, app_id, author, job_kind)

    async def delete_unused(self, app_id: str) -> bool:
        """Remove an app that never had a build, a release, config or a job; return whether it is gone."""
        return await self._database.write(_delete_unused, app_id)

    async def delete(self, app_id: str) -> None:
        """Remove the app and all that hangs on it; waiting jobs are cancelled. Nothing happens if it is gone."""
        await self._database.write(_delete, app_id)


def _create(session: Session, name: str, owner_id: str) -> App:
    server = rows.lock_server(session)
    if _find(session, name) is not None:
        raise ConflictError(f"The name {name} is taken.")
    if session.get(UserRow, owner_id) is None:
        raise NotFoundError("There is no such user.")
    row = AppRow(
        id=rows.new_id(),
        name=name,
        token=secrets.token_hex(16),
        port=_next_port(session, server),
        created_at=rows.now(),
        boot_timeout=HealthSettings().boot_timeout,
    )
    session.add(row)
    session.flush()  # without relationships the order of inserts is not known to be this one
    session.add(AccessRow(user_id=owner_id, app_id=row.id, role=Role.OWNER.value))
    return rows.app(row)


def _next_port(session: Session, server: ServerRow) -> int:
    """The next free one in turn, so that a port is as long as possible not used again."""
    used = set(session.exec(select(AppRow.port)))
    count = PORT_MAX - PORT_MIN + 1
    start = server.last_port + 1 - PORT_MIN
    for offset in range(count):
        port = PORT_MIN + (start + offset) % count
        if port not in used:
            server.last_port = port
            return port
    raise ConflictError(f"Every port from {PORT_MIN} to {PORT_MAX} belongs to an app. Destroy one first.")


def _find(session: Session, name: str) -> AppRow | None:
    return session.exec(select(AppRow).where(col(AppRow.name) == name)).one_or_none()


def _by_name(session: Session, name: str) -> App | None:
    row = _find(session, name)
    return rows.app(row) if row else None


def _by_id(session: Session, app_id: str) -> App | None:
    row = session.get(AppRow, app_id)
    return rows.app(row) if row else None


def _visible_to(session: Session, user: User) -> list[App]:
    query = select(AppRow).order_by(col(AppRow.name))
    if not user.admin:
        mine = select(AccessRow.app_id).where(col(AccessRow.user_id) == user.id)
        query = query.where(col(AppRow.id).in_(mine))
    return [rows.app(row) for row in session.exec(query)]


def _all(session: Session) -> list[App]:
    return [rows.app(row) for row in session.exec(select(AppRow).order_by(col(AppRow.name)))]


def _set_deploy_branch(session: Session, app_id: str, branch: str | None) -> None:
    rows.lock_app(session, app_id).deploy_branch = branch


def _set_health(session: Session, app_id: str, health: HealthSettings) -> None:
    row = rows.lock_app(session, app_id)
    row.health_path, row.boot_timeout = health.path, health.boot_timeout
    row.probe_timeout = health.probe_timeout


def _rename(session: Session, app_id: str, name: str) -> App:
    rows.lock_server(session)
    row = rows.lock_working_app(session, app_id)
    other = _find(session, name)
    if other is not None and other.id != app_id:
        raise ConflictError(f"The name {name} is taken.")
    row.name = name
    return rows.app(row)


def _set_lock(session: Session, app_id: str, locked_by: str | None) -> None:
    rows.lock_app(session, app_id).locked_by = locked_by


def _mark_destroying(session: Session, app_id: str, author: str, job_kind: str | None) -> Job | None:
    rows.lock_app(session, app_id).destroying = True
    session.flush()
    return rows.job(queue.add_or_join(session, app_id, job_kind, (), author)) if job_kind else None


def _delete_unused(session: Session, app_id: str) -> bool:
    row = session.get(AppRow, app_id, with_for_update=True)
    if row is None or row.builds or row.releases:
        return False
    for table in (ConfigRow, FormationRow, JobRow):
        if session.exec(select(table).where(col(table.app_id) == app_id).limit(1)).first() is not None:
            return False
    session.delete(row)
    return True


def _delete(session: Session, app_id: str) -> None:
    row = session.get(AppRow, app_id, with_for_update=True)
    if row is None:
        return
    waiting = (col(JobRow.app_id) == app_id) & (col(JobRow.status) == JobStatus.QUEUED.value)
    for job in session.exec(select(JobRow).where(waiting)):
        queue.end(session, job, JobStatus.CANCELLED, f"{row.name} was destroyed")
    session.delete(row)
