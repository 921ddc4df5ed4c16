"""apps, apps:create, apps:info, apps:destroy."""

from typing import Annotated

from cygni import messages
from cygni.commands.context import Context, ago, pairs, table
from cygni.commands.operation import follow
from cygni.commands.registry import Access, Argument, Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, Role
from cygni.domain.names import is_app_name
from cygni.operations import DESTROY


@registry.command("apps", "apps:list", offline=True, access=Access.EVERYONE)
async def apps(context: Context, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """List the apps you may see."""
    store = context.services.store
    rows = [(app, await store.releases.live(app.id)) for app in await store.apps.visible_to(context.user)]
    if json:
        await context.print_json(
            [
                {"name": app.name, "release": live.version if live else None, "created_at": app.created_at}
                for app, live in rows
            ]
        )
        return
    if not rows:
        await context.tell("No apps yet. Push to a new name, or run apps:create NAME.")
        return
    lines = table(
        ("NAME", "RELEASE", "CREATED"),
        [(app.name, f"v{live.version}" if live else "-", ago(app.created_at)) for app, live in rows],
    )
    await context.print(*lines)


@registry.command(
    "apps:create", "create", offline=True, access=Access.SERVER_ADMIN, examples=("apps:create shop",)
)
async def create(
    context: Context, name: Annotated[str, Argument("NAME", "the app's name, part of its URL")]
) -> None:
    """Create an app without pushing to it."""
    if not is_app_name(name):
        raise UserError(messages.bad_app_name(name))
    app = await context.services.store.apps.create(name, context.user.id)
    await context.services.repositories.ensure(app.id)
    await context.services.store.events.record(context.user.name, "apps:create", app.id, name)
    await context.tell(f"Creating {name}... done")
    await context.print(context.services.releases.url(app))


@registry.command("apps:info", "info", offline=True, access=Role.VIEWER)
async def info(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """Show what is known of an app."""
    store = context.services.store
    live = await store.releases.live(app.id)
    facts = {
        "name": app.name,
        "url": context.services.releases.url(app),
        "release": live.version if live else None,
        "commit": live.commit if live else None,
        "deploy_branch": app.deploy_branch,
        "formation": await context.services.releases.formation(app),
        "health_path": app.health.path,
        "created_at": app.created_at,
    }
    if json:
        await context.print_json(facts)
        return
    await context.print(f"=== {app.name}", "", *pairs((name, _shown(value)) for name, value in facts.items()))


def _shown(value: object) -> str:
    if isinstance(value, dict):
        return " ".join(f"{name}={count}" for name, count in sorted(value.items())) or "-"
    return "-" if value is None else str(value)


@registry.command(
    "apps:destroy", "destroy", access=Role.ADMIN, examples=("apps:destroy -a shop --confirm shop",)
)
async def destroy(
    context: Context,
    app: App,
    *,
    confirm: Annotated[str | None, Flag("the app's name once more", metavar="APP")] = None,
) -> None:
    """Stop an app and remove its releases, images, repository, config and logs for good."""
    if confirm != app.name:
        raise UserError(messages.confirm_needed(app.name, "apps:destroy"))
    await context.services.store.apps.mark_destroying(app.id)
    await context.services.store.events.record(context.user.name, DESTROY, app.id, app.name)
    operation = await context.services.operations.start(app, DESTROY, context.user.name)
    await follow(context, operation)
    await context.tell(f"Destroying {app.name}... done")
