"""access, access:add, access:remove."""

from typing import Annotated

from cygni import messages
from cygni.commands.context import Context, table
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import NotFoundError, UserError
from cygni.domain.models import App, Role, User


@registry.command("access", "access:list", offline=True, access=Role.VIEWER)
async def access(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """List who may use an app; server admins may use all."""
    found = await context.services.store.access.list(app.id)
    if json:
        await context.print_json([{"user": user.name, "role": role} for user, role in found])
        return
    await context.print(*table(("USER", "ROLE"), [(user.name, role) for user, role in found]))


@registry.command(
    "access:add", offline=True, access=Role.ADMIN, examples=("access:add -a shop ann --role deployer",)
)
async def add(
    context: Context,
    app: App,
    user: Annotated[str, Argument("USER", "whose keys get access")],
    *,
    role: Annotated[str, Flag("viewer, deployer or admin")] = Role.DEPLOYER.value,
) -> None:
    """Give a user a role on an app."""
    if role not in list(Role):
        raise UserError(f"There is no role {role}. Roles: {', '.join(Role)}.")
    found = await _user(context, user)
    await context.services.store.access.grant(found.id, app.id, Role(role))
    await context.services.store.events.record(context.user.name, "access:add", app.id, f"{user} {role}")
    await context.tell(f"Giving {user} the role {role} on {app.name}... done")


@registry.command("access:remove", offline=True, access=Role.ADMIN, examples=("access:remove -a shop ann",))
async def remove(
    context: Context, app: App, user: Annotated[str, Argument("USER", "who loses access")]
) -> None:
    """Take a user's role on an app away."""
    found = await _user(context, user)
    await context.services.store.access.revoke(found.id, app.id)
    await context.services.store.events.record(context.user.name, "access:remove", app.id, user)
    await context.tell(f"Removing {user} from {app.name}... done")


async def _user(context: Context, name: str) -> User:
    for user in await context.services.store.users.list():
        if user.name == name:
            return user
    raise NotFoundError(messages.no_such_user(name))
