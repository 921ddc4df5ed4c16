"""init, git:remote, open, completion: what `cygni` does on a laptop. Over SSH these say how to do it by hand."""

from typing import Annotated

from cygni.commands import texts
from cygni.commands.completion import SHELLS, script
from cygni.commands.context import Context
from cygni.commands.registry import Access, Argument, Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, Role
from cygni.ports_file import ports_of


def _remote_url(context: Context, app: App) -> str:
    settings = context.services.settings
    port = ports_of(settings.data).get("ssh_port", settings.ssh_port)
    return f"ssh://cygni@{settings.domain}:{port}/{app.name}"


@registry.command(
    "init",
    laptop=True,
    access=Access.EVERYONE,
    examples=("init --server apps.example.com", "init shop --server apps.example.com:2222"),
)
async def init(
    context: Context,
    name: Annotated[str | None, Argument("NAME", "the app's name; the directory's unless given")] = None,
    *,
    server: Annotated[str | None, Flag("HOST[:PORT]; default: $CYGNI_REMOTE", metavar="HOST")] = None,
) -> None:
    """Make this directory an app: a git repository, the app on the server, and the remote to push to."""
    del context, name, server
    raise UserError(texts.on_a_laptop("init"))


@registry.command("git:remote", laptop=True, access=Role.VIEWER, examples=("git:remote -a shop",))
async def git_remote(
    context: Context,
    app: App,
    *,
    server: Annotated[str | None, Flag("HOST[:PORT]; default: $CYGNI_REMOTE", metavar="HOST")] = None,
    name: Annotated[str, Flag("the remote's name", metavar="NAME")] = "cygni",
) -> None:
    """Add the git remote of an app to this clone, or correct it. Over SSH: print how."""
    del server
    await context.print(f"git remote add {name} {_remote_url(context, app)}")


@registry.command("open", "apps:open", laptop=True, access=Role.VIEWER, examples=("open -a shop",))
async def open_(context: Context, app: App) -> None:
    """Open an app in your browser. Over SSH: print its URL."""
    await context.print(context.services.releases.url(app))


@registry.command(
    "completion",
    offline=True,
    laptop=True,
    access=Access.EVERYONE,
    examples=("completion bash > ~/.local/share/bash-completion/completions/cygni",),
)
async def completion(context: Context, shell: Annotated[str, Argument("SHELL", "bash, zsh or fish")]) -> None:
    """Print a completion script for your shell."""
    if shell not in SHELLS:
        raise UserError(texts.no_such_shell(shell, SHELLS))
    await context.ends.out(script(registry, shell).encode())
