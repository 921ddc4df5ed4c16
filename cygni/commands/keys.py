"""keys, keys:add, keys:remove."""

from typing import Annotated

from cygni import messages
from cygni.commands.context import Context, ago, table
from cygni.commands.registry import Access, Argument, Flag, registry
from cygni.domain.errors import ConflictError, NotFoundError, UserError
from cygni.domain.names import is_key_name
from gitserver.keys import KeyError_, parse_public_key


@registry.command("keys", "keys:list", offline=True, access=Access.EVERYONE)
async def keys(
    context: Context,
    *,
    all_: Annotated[bool, Flag("of all users (server admins)")] = False,
    json: Annotated[bool, Flag("print JSON")] = False,
) -> None:
    """List your public keys."""
    everyone = all_ and context.user.admin
    found = await context.services.store.keys.list(None if everyone else context.user.id)
    if json:
        await context.print_json(
            [{"name": k.name, "fingerprint": k.fingerprint, "created_at": k.created_at} for k in found]
        )
        return
    rows = [(key.name, key.fingerprint, ago(key.created_at)) for key in found]
    await context.print(*table(("NAME", "FINGERPRINT", "ADDED"), rows))


@registry.command(
    "keys:add",
    offline=True,
    access=Access.SERVER_ADMIN,
    examples=("keys:add laptop < ~/.ssh/id_ed25519.pub", "keys:add ann-laptop --user ann < ann.pub"),
)
async def add(
    context: Context,
    name: Annotated[str, Argument("NAME", "the key's name")],
    *,
    user: Annotated[str | None, Flag("whose key it is; a new user is made (default: NAME)")] = None,
    admin: Annotated[bool, Flag("make that user a server admin")] = False,
) -> None:
    """Register a public key, read from standard input."""
    owner_name = user or name
    if not is_key_name(name) or not is_key_name(owner_name):
        raise UserError(messages.bad_key_name(name))
    text = (await context.read_input()).decode(errors="replace")
    try:
        key = parse_public_key(text)
    except KeyError_ as error:
        raise UserError(messages.bad_key(str(error))) from None
    store = context.services.store
    owner = await store.users.ensure(owner_name, admin=admin)
    try:
        await store.keys.add(owner.id, name, key.public, key.fingerprint)
    except ConflictError:
        raise ConflictError(messages.key_exists()) from None
    await store.events.record(context.user.name, "keys:add", None, f"{name} {key.fingerprint}")
    await context.tell(f"Adding key {name} for {owner.name}... done")
    await context.print(key.fingerprint)


@registry.command("keys:remove", offline=True, access=Access.EVERYONE, examples=("keys:remove laptop",))
async def remove(
    context: Context, name: Annotated[str, Argument("NAME", "the key's name or fingerprint")]
) -> None:
    """Remove one of your keys; server admins remove anyone's."""
    owner = None if context.user.admin else context.user.id
    try:
        key = await context.services.store.keys.remove(name, owner)
    except NotFoundError:
        raise NotFoundError(messages.no_such_key(name)) from None
    await context.services.store.events.record(context.user.name, "keys:remove", None, key.fingerprint)
    await context.tell(f"Removing key {key.name}... done")
