"""Runs one command line: parse, find the app, check the permission, call, turn errors into sentences."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import structlog

from cygni import audit, engine_errors, messages
from cygni.audit import Entry
from cygni.commands.context import Context
from cygni.commands.help import command_help
from cygni.commands.parser import Invocation, UsageError, parse
from cygni.commands.registry import Access, Argument, Command, Registry
from cygni.domain.errors import TransientError, UserError
from cygni.domain.models import App, Role
from cygni.output import PROBLEM
from cygni.store import StoreError
from cygni.view import take_view

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_LATER = 75
"""Trying again later may work (`EX_TEMPFAIL`)."""

log = structlog.get_logger()


async def dispatch(registry: Registry, words: Sequence[str], context: Context) -> int:
    """Run the command and return its exit code, one of the above or the command's own."""
    words, view = take_view(words)
    words = words or ["help"]
    context = replace(context, view=view)
    try:
        return await _run(registry, words, context)
    except UsageError as error:
        return await _problem(context, str(error), EXIT_USAGE)
    except TransientError as error:
        return await _problem(context, str(error), EXIT_LATER)
    except (UserError, StoreError) as error:
        return await _problem(context, str(error), EXIT_FAILED)
    except ConnectionError:
        return EXIT_FAILED
    except Exception:
        log.exception("command failed", command=words[0])
        return await _problem(context, messages.unexpected(), EXIT_FAILED)


async def _problem(context: Context, text: str, code: int) -> int:
    await context.tell(*(f"{PROBLEM}{line}".rstrip() for line in text.split("\n")))
    return code


async def _run(registry: Registry, words: Sequence[str], context: Context) -> int:
    invocation = parse(registry, words, context.view.app)
    command = invocation.command
    if invocation.help:
        await context.print(*command_help(command))
        return EXIT_OK
    if not command.audited:
        return await _call(context, invocation, await _enter(context, invocation))
    return await _audited(context, invocation)


async def _audited(context: Context, invocation: Invocation) -> int:
    """Run a command that leaves a line in the audit trail, also where it is refused."""
    store = context.services.store
    entry = Entry(store, context.user.name, invocation.command.name, context.address)
    try:
        entry.app = await _enter(context, invocation)
    except UserError:
        await entry.end(audit.REFUSED, invocation.app or "")
        raise
    try:
        code = await _call(replace(context, entry=entry), invocation, entry.app)
    except asyncio.CancelledError:
        await entry.end(audit.LEFT)
        raise
    except BaseException:
        await entry.end(audit.FAILED)
        raise
    await entry.end(audit.FAILED if code else audit.DONE)
    return code


async def _enter(context: Context, invocation: Invocation) -> App | None:
    """Find the app and check the caller's right to the command."""
    command, permissions = invocation.command, context.services.permissions
    app = None
    if invocation.app is not None:
        app = await permissions.find(context.user, invocation.app)
    await _authorize(context, command, app)
    if command.alters and app is not None:
        permissions.require_alterable(app)
    log.info("command", name=command.name, user=context.user.name, app=app.name if app else None)
    return app


async def _authorize(context: Context, command: Command, app: App | None) -> None:
    permissions = context.services.permissions
    if isinstance(command.access, Role) and app is not None:
        await permissions.require(context.user, app, command.access)
    elif command.access is not Access.EVERYONE:
        permissions.require_server_admin(context.user)


async def _call(context: Context, invocation: Invocation, app: App | None) -> int:
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
        return await command.function(*positional, **values) or EXIT_OK
