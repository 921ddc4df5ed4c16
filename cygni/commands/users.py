"""users, users:admin, users:remove: the people of a server."""

from typing import Annotated

from cygni.commands.access import find_user
from cygni.commands.context import Context, ago
from cygni.commands.registry import Access, Argument, Flag, registry


@registry.command("users", "users:list", offline=True, access=Access.SERVER_ADMIN, examples=("users --json",))
async def users(context: Context, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """List everybody, with the number of their keys and when one was used last."""
    store = context.services.store
    keys = await store.keys.list()
    facts = []
    for user in await store.users.list():
        used = [key.last_used_at for key in keys if key.user_id == user.id and key.last_used_at]
        count = sum(key.user_id == user.id for key in keys)
        facts.append((user, count, max(used, default=None)))
    if json:
        await context.print_json(
            [{"name": u.name, "admin": u.admin, "keys": n, "last_used_at": used} for u, n, used in facts]
        )
        return
    rows = [(u.name, "server admin" if u.admin else "-", str(n), ago(used)) for u, n, used in facts]
    await context.print_table(("USER", "SERVER", "KEYS", "LAST USED"), rows)


@registry.command(
    "users:admin",
    offline=True,
    audited=True,
    access=Access.SERVER_ADMIN,
    examples=("users:admin ann", "users:admin ann --remove"),
)
async def admin(
    context: Context,
    user: Annotated[str, Argument("USER", "who")],
    *,
    remove: Annotated[bool, Flag("take it away")] = False,
) -> None:
    """Make a user a server admin, who may do everything with every app.

    The last server admin with a key stays one.
    """
    found = await find_user(context, user)
    await context.note(f"{user} {'no longer' if remove else 'now'}")
    await context.services.store.users.set_admin(found.id, admin=not remove)
    await context.tell(f"Making {user} {'no server admin any more' if remove else 'a server admin'}... done")


@registry.command(
    "users:remove", offline=True, audited=True, access=Access.SERVER_ADMIN, examples=("users:remove ann",)
)
async def remove_(context: Context, user: Annotated[str, Argument("USER", "who leaves")]) -> None:
    """Remove a user with all keys and roles; what they did stays in `events`."""
    found = await find_user(context, user)
    await context.note(user)
    await context.services.store.users.remove(found.id)
    await context.tell(f"Removing user {user}... done")
