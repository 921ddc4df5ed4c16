"""keys, keys:add, keys:remove."""

from typing import Annotated

from cygni.commands import texts
from cygni.commands.context import Context, ago
from cygni.commands.registry import Access, Argument, Flag, registry
from cygni.domain.errors import ConflictError, NotFoundError, UserError
from cygni.domain.names import is_key_name
from gitserver.keys import KeyError_, parse_public_key


@registry.command(
    "keys", "keys:list", "ssh-keys:list", offline=True, access=Access.EVERYONE, examples=("keys",)
)
async def keys(
    context: Context,
    *,
    all_: Annotated[bool, Flag("of all users (server admins)")] = False,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """List your public keys and when each was used last."""
    store = context.services.store
    if all_:
        context.services.permissions.require_server_admin(context.user)
    names = {user.id: user.name for user in await store.users.list()}
    found = await store.keys.list(None if all_ else context.user.id)
    if json:
        await context.print_json(
            [
                {
                    "user": names[key.user_id],
                    "name": key.name,
                    "fingerprint": key.fingerprint,
                    "created_at": key.created_at,
                    "last_used_at": key.last_used_at,
                }
                for key in found
            ]
        )
        return
    rows = [(names[k.user_id], k.name, k.fingerprint, ago(k.created_at), ago(k.last_used_at)) for k in found]
    await context.print_table(("USER", "NAME", "FINGERPRINT", "ADDED", "LAST USED"), rows)


@registry.command(
    "keys:add",
    "ssh-keys:add",
    offline=True,
    audited=True,
    access=Access.EVERYONE,
    examples=("keys:add laptop < ~/.ssh/id_ed25519.pub", "keys:add ann-laptop --user ann < ann.pub"),
)
async def add(
    context: Context,
    name: Annotated[str, Argument("NAME", "the key's name")],
    *,
    user: Annotated[str | None, Flag("whose key it is (server admins); a new user is made")] = None,
    admin: Annotated[bool, Flag("make that user a server admin")] = False,
) -> None:
    """Register a public key of yours, read from standard input; server admins register anyone's.

    On the server's own shell the key is for the user NAME unless --user says otherwise.
    """
    on_server = context.address is None
    owner_name = user or (name if on_server else context.user.name)
    if not is_key_name(name) or not is_key_name(owner_name):
        raise UserError(texts.bad_key_name(name if not is_key_name(name) else owner_name))
    if admin or owner_name != context.user.name:
        context.services.permissions.require_server_admin(context.user)
    text = (await context.read_input()).decode(errors="replace")
    try:
        key = parse_public_key(text)
    except KeyError_ as error:
        raise UserError(texts.bad_key(str(error))) from None
    store = context.services.store
    await context.note(f"{name} {key.fingerprint} for {owner_name}{' as server admin' if admin else ''}")
    owner = await store.users.ensure(owner_name, admin=admin)
    try:
        await store.keys.add(owner.id, name, key.public, key.fingerprint)
    except ConflictError:
        raise ConflictError(texts.key_exists()) from None
    await context.tell(f"Adding key {name} for {owner.name}... done")
    await context.print(key.fingerprint)


@registry.command(
    "keys:remove",
    "ssh-keys:remove",
    offline=True,
    audited=True,
    access=Access.EVERYONE,
    examples=("keys:remove laptop",),
)
async def remove(
    context: Context, name: Annotated[str, Argument("NAME", "the key's name or fingerprint")]
) -> None:
    """Remove one of your keys; server admins remove anyone's. It stops working at once.

    The last key of the last server admin stays: add another one first.
    """
    await context.note(name)
    owner = None if context.user.admin else context.user.id
    try:
        key = await context.services.store.keys.remove(name, owner)
    except NotFoundError:
        raise NotFoundError(texts.no_such_key(name)) from None
    await context.tell(f"Removing key {key.name}... done")
