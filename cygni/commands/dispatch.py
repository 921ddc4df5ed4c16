"""Runs one command line: parse, find the app, check the permission, call, turn errors into sentences."""

from collections.abc import Sequence
from typing import Any

import structlog

from cygni import engine_errors, messages
from cygni.commands.context import Context
from cygni.commands.help import command_help
from cygni.commands.parser import Invocation, UsageError, parse
from cygni.commands.registry import Access, Argument, Command, Registry
from cygni.domain.errors import NotFoundError, UserError
from cygni.domain.models import App, Role
from cygni.output import PROBLEM

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
RANK = {Role.VIEWER: 0, Role.DEPLOYER: 1, Role.ADMIN: 2}

log = structlog.get_logger()


async def dispatch(registry: Registry, words: Sequence[str], context: Context) -> int:
    """Run the command and return its exit code: 0, 1 for a failure, 2 for a line that does not parse."""
    try:
        return await _run(registry, words or ["help"], context)
    except UsageError as error:
        await _problem(context, str(error))
        return EXIT_USAGE
    except UserError as error:
        await _problem(context, str(error))
        return EXIT_FAILED
    except ConnectionError:
        return EXIT_FAILED
    except Exception:
        log.exception("command failed", command=words[0])
        await _problem(context, messages.unexpected())
        return EXIT_FAILED


async def _problem(context: Context, text: str) -> None:
    await context.tell(*(f"{PROBLEM}{line}" for line in text.split("\n")))


async def _run(registry: Registry, words: Sequence[str], context: Context) -> int:
    invocation = parse(registry, words)
    command = invocation.command
    if invocation.help:
        await context.print(*command_help(command))
        return EXIT_OK
    app = await _find_app(context, invocation)
    await authorize(context, command, app)
    log.info("command", name=command.name, user=context.user.name, app=app.name if app else None)
    return await _call(context, invocation, app) or EXIT_OK


async def _find_app(context: Context, invocation: Invocation) -> App | None:
    if invocation.app is None:
        return None
    app = await context.services.store.apps.by_name(invocation.app)
    if app is None or await context.services.store.access.role(context.user, app.id) is None:
        raise NotFoundError(messages.no_such_app(invocation.app))
    return app


async def authorize(context: Context, command: Command, app: App | None) -> None:
    """The one permission check.

    Raises:
        UserError: the caller's role is too small.
    """
    if command.access is Access.SERVER_ADMIN and not context.user.admin:
        raise UserError(messages.needs_server_admin())
    if isinstance(command.access, Role) and app is not None:
        role = await context.services.store.access.role(context.user, app.id)
        if role is None or RANK[role] < RANK[command.access]:
            raise UserError(messages.needs_role(app.name, command.access))


async def _call(context: Context, invocation: Invocation, app: App | None) -> int | None:
    command = invocation.command
    positional: list[Any] = [context]
    if command.takes_app:
        positional.append(app)
    values = dict(invocation.values)
    for argument in command.arguments:
        assert isinstance(argument.declaration, Argument)
        if argument.many:
            positional += values.pop(argument.name, ())
        elif argument.name in values:
            positional.append(values.pop(argument.name))
        else:
            positional.append(argument.default)
    with engine_errors.explained():
        return await command.function(*positional, **values)
