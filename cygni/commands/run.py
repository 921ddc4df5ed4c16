"""run, run:list, run:stop, exec: one-off processes, and processes inside running ones."""

import re
import shlex
from typing import Annotated

from cygni import oneoff_messages
from cygni.commands.context import Context, ago, table
from cygni.commands.registry import Argument, Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.models import App, Role
from cygni.domain.names import is_config_name
from cygni.domain.sizes import SIZES, parse_size
from cygni.joining import join
from cygni.manifests import resources
from cygni.oneoffs import Joined, Wish
from cygni.output import PROBLEM
from deployer.manifest import Resources
from deployer.ports import Instance, Outcome, Terminal

SHELL = ("/bin/sh", "-c")
ANY_SHELL = "if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi"
PLAIN = re.compile(r"[A-Za-z0-9_./:@%+=,-]+")
NOT_FOUND, KILLED = 127, 137


@registry.command(
    "run",
    terminal=True,
    audited=True,
    access=Role.DEPLOYER,
    examples=(
        "run -a shop -- rake db:migrate",
        "run -a shop bash",
        "run -a shop -d --size 1G -e BATCH=7 -- python3 import.py",
        "run -a shop 'env | sort' > config.txt",
    ),
)
async def run(
    context: Context,
    app: App,
    *command: Annotated[
        str, Argument("COMMAND", "and its arguments; one word with blanks is a shell line", rest=True)
    ],
    detach: Annotated[
        bool, Flag("do not wait; print its name, its output goes to the logs", short="-d")
    ] = False,
    size: Annotated[str | None, Flag("512M, 1G:2 or a name, as limits:set has it", metavar="SIZE")] = None,
    env: Annotated[tuple[str, ...], Flag("set a variable", short="-e", metavar="NAME=VALUE")] = (),
) -> int | None:
    """Run a one-off process in the image and config of the live release.

    With a terminal (`ssh -t`) it is interactive; without one its input, output and errors stay apart, and binary data
    passes unchanged. The exit code is the process's own, 127 where there is no such command. It ends when you leave,
    unless detached, and after 24 hours.
    """
    if not command:
        raise UserError(oneoff_messages.no_command("run"))
    wish = Wish(
        command=command_line(command),
        who=context.user.name,
        env=dict(_variable(word) for word in env),
        resources=_resources(size),
        terminal=None if detach else _terminal(context),
    )
    await _note(context, app, shlex.join(command))
    if detach:
        instance = await context.services.one_offs.detached(app, wish)
        await context.tell(
            f"Running {instance.name} on {app.name}; see: logs -a {app.name} -t -p {instance.name}"
        )
        await context.print(instance.name)
        return None
    async with context.services.one_offs.attached(app, wish) as joined:
        await context.tell(f"Running {joined.name} on {app.name}")
        return await _converse(context, joined, wish)


@registry.command("run:list", access=Role.VIEWER, examples=("run:list -a shop",))
async def list_(context: Context, app: App, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """List an app's one-off processes."""
    found = await context.services.one_offs.list(app)
    if json:
        await context.print_json([_facts(instance) for instance in found])
        return
    rows = [(i.name, f"v{i.release}", str(i.one_off), i.state, ago(i.started_at)) for i in found]
    await context.print(*table(("NAME", "RELEASE", "KIND", "STATE", "SINCE"), rows))


def _facts(instance: Instance) -> dict[str, object]:
    return {
        "name": instance.name,
        "release": instance.release,
        "kind": instance.one_off,
        "state": instance.state,
        "since": instance.started_at,
        "exit_code": instance.exit_code,
    }


@registry.command("run:stop", audited=True, access=Role.DEPLOYER, examples=("run:stop -a shop run.1",))
async def stop(
    context: Context, app: App, name: Annotated[str, Argument("NAME", "as ps and run:list show it")]
) -> None:
    """Stop a one-off process: SIGTERM, and SIGKILL 10 seconds later."""
    await context.note(name)
    await context.services.one_offs.stop(app, name)
    await context.tell(f"Stopping {name} of {app.name}... done")


@registry.command(
    "exec",
    "ps:exec",
    "enter",
    terminal=True,
    audited=True,
    access=Role.DEPLOYER,
    examples=(
        "exec -a shop",
        "exec -a shop -i worker.2 -- ps aux",
        "exec -a shop -- tail -n 50 /tmp/debug.log",
    ),
)
async def exec_(
    context: Context,
    app: App,
    *command: Annotated[str, Argument("COMMAND", "and its arguments; a shell unless given", rest=True)],
    instance: Annotated[str | None, Flag("where: web.1 unless given", short="-i", metavar="NAME")] = None,
    env: Annotated[tuple[str, ...], Flag("set a variable", short="-e", metavar="NAME=VALUE")] = (),
) -> int:
    """Run a process inside a running one, with its files and its network.

    Terminal, input, output and exit code are as with `run`. What it changes is gone with the next deploy.
    """
    wish = Wish(
        command=command_line(command) if command else (*SHELL, ANY_SHELL),
        who=context.user.name,
        env=dict(_variable(word) for word in env),
        terminal=_terminal(context),
    )
    await _note(context, app, f"{instance or ''} {shlex.join(command)}".strip())
    async with context.services.one_offs.inside(app, instance, wish) as joined:
        await context.tell(f"In {joined.name} of {app.name}")
        return await _converse(context, joined, wish)


async def _note(context: Context, app: App, text: str) -> None:
    await context.note(await context.services.one_offs.without_secrets(app, text))


async def _converse(context: Context, joined: Joined, wish: Wish) -> int:
    """Join the person to the process and tell what its exit code does not."""
    given = wish.terminal
    if given is not None:
        context.ends.take_terminal()
    size = (given.columns, given.rows) if given else None
    outcome = await join(context.ends, joined.attachment, size)
    hint = _hint(outcome, wish)
    if hint is not None:
        await context.ends.err(f"{PROBLEM}{hint}".encode() + (b"\r\n" if given else b"\n"))
    return outcome.code


def _hint(outcome: Outcome, wish: Wish) -> str | None:
    if outcome.out_of_memory:
        return oneoff_messages.one_off_out_of_memory(wish.resources.memory_bytes)
    if outcome.code == KILLED:
        return oneoff_messages.one_off_killed(wish.resources.memory_bytes)
    if outcome.code == NOT_FOUND:
        return oneoff_messages.command_missing(
            wish.command[2] if wish.command[:2] == SHELL else wish.command[0]
        )
    return None


def command_line(words: tuple[str, ...]) -> tuple[str, ...]:
    """What to run: the words as they are; one word that only a shell understands is a shell line."""
    if len(words) == 1 and not PLAIN.fullmatch(words[0]):
        return (*SHELL, words[0])
    return words


def _terminal(context: Context) -> Terminal | None:
    found = context.ends.terminal
    return Terminal(found.kind, found.columns, found.rows) if found else None


def _variable(word: str) -> tuple[str, str]:
    name, equals, value = word.partition("=")
    if not equals or not is_config_name(name) or "\0" in value:
        raise UserError(oneoff_messages.bad_variable(word))
    return name, value


def _resources(size: str | None) -> Resources:
    if size is None:
        return Resources()
    limits = parse_size(size)
    if limits is None:
        raise UserError(oneoff_messages.bad_size(size, SIZES))
    return resources(limits)
