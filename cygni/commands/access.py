"""access, access:add, access:remove."""

from typing import Annotated

from cygni import messages
from cygni.commands import texts
from cygni.commands.context import Context
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import ConflictError, ForbiddenError, NotFoundError, UserError
from cygni.domain.models import App, Role, User


@registry.command("access", "access:list", offline=True, access=Role.VIEWER, examples=("access -a shop",))
async def access(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """List who may use an app; server admins may use all.

    A viewer looks, a deployer pushes and changes what runs, an admin gives access and renames,
    an owner destroys and makes other owners. Each may also do what comes before.
    """
    found = await context.services.store.access.list(app.id)
    if json:
        await context.print_json([{"user": user.name, "role": role} for user, role in found])
        return
    await context.print_table(("USER", "ROLE"), [(user.name, role) for user, role in found])


@registry.command(
    "access:add",
    offline=True,
    audited=True,
    access=Role.ADMIN,
    examples=("access:add -a shop ann --role deployer",),
)
async def add(
    context: Context,
    app: App,
    user: Annotated[str, Argument("USER", "whose keys get access")],
    *,
    role: Annotated[str, Flag("viewer, deployer, admin or owner")] = Role.DEPLOYER.value,
) -> None:
    """Give a user a role on an app, or another one."""
    if role not in list(Role):
        raise UserError(texts.no_such_role(role))
    found = await find_user(context, user)
    await _check_reach(context, app, found, Role(role))
    await context.note(f"{user} {role}")
    await context.services.store.access.grant(found.id, app.id, Role(role))
    await context.tell(f"Giving {user} the role {role} on {app.name}... done")


@registry.command(
    "access:remove", offline=True, audited=True, access=Role.ADMIN, examples=("access:remove -a shop ann",)
)
async def remove(
    context: Context, app: App, user: Annotated[str, Argument("USER", "who loses access")]
) -> None:
    """Take a user's role on an app away."""
    found = await find_user(context, user)
    await _check_reach(context, app, found, Role.VIEWER)
    await context.note(user)
    if not await context.services.store.access.revoke(found.id, app.id):
        raise ConflictError(texts.has_no_role(user, app.name))
    await context.tell(f"Removing {user} from {app.name}... done")


async def _check_reach(context: Context, app: App, user: User, wanted: Role) -> None:
    """Only owners make or unmake owners."""
    store = context.services.store
    has = {member.id: role for member, role in await store.access.list(app.id)}.get(user.id)
    mine = await store.access.role(context.user, app.id)
    if Role.OWNER in {has, wanted} and mine is not Role.OWNER:
        raise ForbiddenError(messages.needs_role(app.name, Role.OWNER, mine))


async def find_user(context: Context, name: str) -> User:
    """Return the user of that name.

    Raises:
        NotFoundError: there is none.
    """
    found = await context.services.store.users.by_name(name)
    if found is None:
        raise NotFoundError(texts.no_such_user(name))
    return found
