"""help, version."""

from importlib.metadata import version
from typing import Annotated

from cygni import messages
from cygni.commands.context import Context
from cygni.commands.help import command_help, overview
from cygni.commands.registry import Access, Argument, registry
from cygni.domain.errors import UserError


@registry.command("help", offline=True, access=Access.EVERYONE, examples=("help", "help config:set"))
async def help_(
    context: Context, command: Annotated[str | None, Argument("COMMAND", "a command")] = None
) -> None:
    """Show all commands, or one."""
    if command is None:
        await context.print(*overview(registry))
        return
    found = registry.find(command)
    if found is None:
        raise UserError(messages.no_such_command(command, registry.nearest(command)))
    await context.print(*command_help(found))


@registry.command("version", offline=True, access=Access.EVERYONE)
async def version_(context: Context) -> None:
    """Show the server's version."""
    await context.print(f"cygni {version('cygni')}")
