"""help, version."""

from importlib.metadata import version
from typing import Annotated

from cygni.commands import texts
from cygni.commands.context import Context
from cygni.commands.help import command_help, noun_help, noun_of, overview
from cygni.commands.registry import Access, Argument, Flag, registry
from cygni.domain.errors import UserError


@registry.command(
    "help", "--help", "-h", offline=True, access=Access.EVERYONE, examples=("help", "help config:set")
)
async def help_(
    context: Context, command: Annotated[str | None, Argument("COMMAND", "a command")] = None
) -> None:
    """Show all commands in groups, or one with its flags and examples."""
    if command is None:
        await context.print(*overview(registry))
        return
    found = registry.find(command)
    if found is None:
        raise UserError(texts.no_such_command(command, registry.nearest(command)))
    await context.print(*command_help(found))
    if found.name == noun_of(found):
        await context.print(*noun_help(registry, found.name))


@registry.command("version", "--version", offline=True, access=Access.EVERYONE, examples=("version",))
async def version_(context: Context, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """Show the server's version."""
    if json:
        await context.print_json({"version": version("cygni")})
    else:
        await context.print(f"cygni {version('cygni')}")
