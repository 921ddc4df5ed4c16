"""git:set: which branch of an app's repository is deployed."""

from typing import Annotated

from cygni.commands import texts
from cygni.commands.context import Context
from cygni.commands.registry import Argument, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, Role
from cygni.domain.names import is_branch_name

SETTING = "deploy-branch"


@registry.command(
    "git:set",
    offline=True,
    alters=True,
    access=Role.DEPLOYER,
    examples=("git:set -a shop deploy-branch=production", "git:set -a shop deploy-branch="),
)
async def set_(
    context: Context,
    app: App,
    setting: Annotated[
        str,
        Argument(
            "deploy-branch=NAME", "the branch whose pushes are deployed; empty: the next main or master"
        ),
    ],
) -> None:
    """Set the branch that is deployed, from the next push on; clones check it out."""
    name, equals, branch = setting.partition("=")
    if name != SETTING or not equals or (branch and not is_branch_name(branch)):
        raise UserError(texts.bad_git_setting(setting))
    await context.note(setting)
    services = context.services
    await services.store.apps.set_deploy_branch(app.id, branch or None)
    if branch:
        await services.repositories.set_head(await services.repositories.ensure(app.id), branch)
    await context.tell(
        f"Setting the deploy branch of {app.name}... done, {branch or 'the next main or master'}"
    )
