"""apps, apps:create, apps:info, apps:rename, apps:lock, apps:unlock, apps:destroy."""

from typing import Annotated

from cygni import messages
from cygni.commands import texts
from cygni.commands.context import Context, ago
from cygni.commands.operation import confirm, follow
from cygni.commands.registry import Access, Argument, Flag, registry
from cygni.domain.errors import ConflictError, UserError
from cygni.domain.models import App, Release, Role
from cygni.domain.names import is_app_name
from cygni.operations import RESTART


@registry.command(
    "apps", "apps:list", "list", offline=True, access=Access.EVERYONE, examples=("apps --json",)
)
async def apps(context: Context, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """List the apps you may see."""
    store = context.services.store
    found = [(app, await store.releases.live(app.id)) for app in await store.apps.visible_to(context.user)]
    if json:
        await context.print_json([_row(context, app, live) for app, live in found])
        return
    if not found:
        await context.tell("No apps yet. Push to a new name, or run apps:create NAME.")
        return
    rows = [(app.name, f"v{live.version}" if live else "-", ago(app.created_at)) for app, live in found]
    await context.print_table(("NAME", "RELEASE", "CREATED"), rows)


def _row(context: Context, app: App, live: Release | None) -> dict[str, object]:
    return {
        "name": app.name,
        "url": context.services.releases.url(app),
        "release": live.version if live else None,
        "locked_by": app.locked_by,
        "created_at": app.created_at,
    }


@registry.command(
    "apps:create",
    "create",
    offline=True,
    audited=True,
    access=Access.SERVER_ADMIN,
    examples=("apps:create shop",),
)
async def create(
    context: Context, name: Annotated[str, Argument("NAME", "the app's name, part of its URL")]
) -> None:
    """Create an app without pushing to it; you become its owner."""
    _check_name(name)
    app = await context.services.store.apps.create(name, context.user.id)
    assert context.entry is not None
    context.entry.app = app
    await context.note(name)
    await context.services.repositories.ensure(app.id)
    await context.tell(f"Creating {name}... done")
    await context.print(context.services.releases.url(app))


def _check_name(name: str) -> None:
    if not is_app_name(name):
        raise UserError(messages.bad_app_name(name))


@registry.command(
    "apps:info", "info", "apps:report", offline=True, access=Role.VIEWER, examples=("apps:info -a shop",)
)
async def info(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """Show what is known of an app."""
    store = context.services.store
    live = await store.releases.live(app.id)
    owners = [user.name for user, role in await store.access.list(app.id) if role is Role.OWNER]
    facts = _row(context, app, live) | {
        "commit": live.commit if live else None,
        "deploy_branch": app.deploy_branch,
        "formation": await context.services.releases.formation(app),
        "health_path": app.health.path,
        "owners": owners,
    }
    if json:
        await context.print_json(facts)
    else:
        facts["created_at"] = ago(app.created_at)
        await context.print_facts(app.name, [(name, _shown(value)) for name, value in facts.items()])


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={count}" for name, count in sorted(value.items())) or "-"
    if isinstance(value, list):
        return ", ".join(value) or "-"
    return "-" if value is None else str(value)


@registry.command(
    "apps:rename", "rename", alters=True, access=Role.ADMIN, examples=("apps:rename -a shop store",)
)
async def rename(
    context: Context, app: App, name: Annotated[str, Argument("NEW-NAME", "its name from now on")]
) -> None:
    """Give an app another name, and with it another URL; its processes are replaced, without downtime.

    The git remote of each clone has to be changed as well: git remote set-url cygni …/NEW-NAME
    """
    _check_name(name)
    if name == app.name:
        raise ConflictError(texts.same_name(name))
    await context.note(f"{app.name} to {name}")
    renamed = await context.services.store.apps.rename(app.id, name)
    if await context.services.store.releases.live(app.id):
        operation = await context.services.operations.start(renamed, RESTART, context.user.name)
        await follow(context, operation)
    await context.tell(f"Renaming {app.name} to {name}... done")
    await context.print(context.services.releases.url(renamed))


@registry.command("apps:lock", offline=True, audited=True, access=Role.ADMIN, examples=("apps:lock -a shop",))
async def lock(context: Context, app: App) -> None:
    """Refuse pushes and changes of an app until apps:unlock; what runs goes on."""
    if app.locked_by is not None:
        raise ConflictError(messages.app_locked(app.name, app.locked_by))
    await context.note("")
    await context.services.store.apps.set_lock(app.id, context.user.name)
    await context.tell(f"Locking {app.name}... done")


@registry.command(
    "apps:unlock", offline=True, audited=True, access=Role.ADMIN, examples=("apps:unlock -a shop",)
)
async def unlock(context: Context, app: App) -> None:
    """Allow pushes and changes of a locked app again."""
    if app.locked_by is None:
        raise ConflictError(texts.not_locked(app.name))
    await context.note("")
    await context.services.store.apps.set_lock(app.id, None)
    await context.tell(f"Unlocking {app.name}... done")


@registry.command(
    "apps:destroy",
    "destroy",
    audited=True,
    access=Role.OWNER,
    examples=("apps:destroy -a shop --confirm shop",),
)
async def destroy(
    context: Context,
    app: App,
    *,
    confirm_: Annotated[str | None, Flag("the app's name once more", metavar="APP")] = None,
) -> None:
    """Stop an app and remove its releases, images, repository, config and logs for good."""
    if app.locked_by is not None:
        raise ConflictError(messages.app_locked(app.name, app.locked_by))
    await confirm(context, app, confirm_, "apps:destroy")
    await context.note(app.name)
    operation = await context.services.operations.destroy(app, context.user.name)
    await follow(context, operation)
    await context.tell(f"Destroying {app.name}... done")
