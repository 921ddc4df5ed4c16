"""The one permission check: every command, push, fetch and log read passes it."""

from cygni import messages
from cygni.domain.errors import ConflictError, ForbiddenError, NotFoundError
from cygni.domain.models import App, Role, User
from cygni.store import Store


class Permissions:
    """Finds apps for people and says what they may do with them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find(self, user: User, name: str) -> App:
        """Return the app of that name, if the user may know of it.

        Raises:
            NotFoundError: there is none, or the user has no role on it: one text for both.
        """
        app = await self._store.apps.by_name(name)
        role = await self._store.access.role(user, app.id if app else "")
        if app is None or role is None:
            raise NotFoundError(messages.no_such_app(name))
        return app

    async def require(self, user: User, app: App, role: Role) -> None:
        """Let pass who has this role on the app or a higher one.

        Raises:
            ForbiddenError: the user's role is too small; the text says which is needed.
        """
        has = await self._store.access.role(user, app.id)
        if has is None or has.rank < role.rank:
            raise ForbiddenError(messages.needs_role(app.name, role, has))

    def require_server_admin(self, user: User) -> None:
        """Let server admins pass.

        Raises:
            ForbiddenError: the user is none.
        """
        if not user.admin:
            raise ForbiddenError(messages.needs_server_admin())

    def require_alterable(self, app: App) -> None:
        """Let changes of what runs pass, unless the app is locked or on its way out.

        Raises:
            ConflictError: with the reason.
        """
        if app.destroying:
            raise ConflictError(messages.being_destroyed(app.name))
        if app.locked_by is not None:
            raise ConflictError(messages.app_locked(app.name, app.locked_by))
