"""The one registry: a command is a typed function, its declaration is its parser, help and permission."""

import inspect
import typing
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from enum import Enum
from types import UnionType
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from cygni.domain.models import App, Role


class Access(Enum):
    """Who may call a command that is not about one app."""

    EVERYONE = "everyone with a key"
    SERVER_ADMIN = "server admin"


@dataclass(frozen=True)
class Argument:
    """Declares a positional argument; its name in help is `metavar`."""

    metavar: str
    help: str
    rest: bool = False
    """Whether everything from here on belongs to it, flags as well: a command line of somebody else's."""


@dataclass(frozen=True)
class Flag:
    """Declares an option: `--name` from the parameter's name, and perhaps a short form."""

    help: str
    short: str | None = None
    metavar: str | None = None
    also: tuple[str, ...] = ()
    """Other spellings that people's fingers know; not in help."""
    least: int | None = None
    most: int | None = None
    """Bounds of a whole number."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a command's function, as the parser sees it."""

    name: str
    declaration: Argument | Flag
    kind: type
    default: Any
    many: bool

    @property
    def option(self) -> str:
        """The long form on a command line."""
        return "--" + self.name.rstrip("_").replace("_", "-")

    @property
    def required(self) -> bool:
        """Whether a call without it is refused."""
        return self.default is inspect.Parameter.empty and not self.many


CommandFunction = Callable[..., Awaitable[int | None]]


@dataclass(frozen=True)
class Command:
    """A registered command."""

    name: str
    aliases: tuple[str, ...]
    summary: str
    description: str
    access: Access | Role
    examples: tuple[str, ...]
    function: CommandFunction
    takes_app: bool
    app_optional: bool
    parameters: tuple[Parameter, ...]
    offline: bool = False
    """Whether it needs nothing but the store, so that it works while no server runs."""
    audited: bool = False
    """Whether each call leaves a line in the audit trail: changes, and reads of secrets."""
    alters: bool = False
    """Whether it changes what runs of an app: refused while the app is locked. Audited as well."""
    laptop: bool = False
    """Whether the work is done by `cygni` on a laptop; over SSH it says how to do it by hand."""
    terminal: bool = False
    """Whether it can take a terminal over: clients that have one give it."""

    @property
    def takes_rest(self) -> bool:
        """Whether its last argument is a command line of somebody else's."""
        return any(isinstance(p.declaration, Argument) and p.declaration.rest for p in self.parameters)

    @property
    def arguments(self) -> tuple[Parameter, ...]:
        """Positional parameters in order."""
        return tuple(p for p in self.parameters if isinstance(p.declaration, Argument))

    @property
    def flags(self) -> tuple[Parameter, ...]:
        """Options in order."""
        return tuple(p for p in self.parameters if isinstance(p.declaration, Flag))

    @property
    def synopsis(self) -> str:
        """The usage line."""
        parts = [self.name]
        if self.takes_app:
            parts.append("[-a APP]" if self.app_optional else "-a APP")
        parts += [_flag_usage(flag) for flag in self.flags]
        parts += [_argument_usage(argument) for argument in self.arguments]
        return " ".join(parts)


def _flag_usage(flag: Parameter) -> str:
    declaration = flag.declaration
    assert isinstance(declaration, Flag)
    name = declaration.short or flag.option
    value = f" {declaration.metavar or flag.name.upper()}" if flag.kind is not bool else ""
    value += "…" if flag.many else ""
    return f"[{name}{value}]" if not flag.required else f"{name}{value}"


def _argument_usage(argument: Parameter) -> str:
    declaration = argument.declaration
    assert isinstance(declaration, Argument)
    name = f"{declaration.metavar}…" if argument.many else declaration.metavar
    return name if argument.required or (argument.many and argument.default) else f"[{name}]"


@dataclass
class Registry:
    """Commands by name and alias."""

    commands: dict[str, Command] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)

    def command(
        self,
        name: str,
        *aliases: str,
        access: Access | Role,
        examples: tuple[str, ...] = (),
        offline: bool = False,
        audited: bool = False,
        alters: bool = False,
        laptop: bool = False,
        terminal: bool = False,
    ) -> Callable[[CommandFunction], CommandFunction]:
        """Register the decorated coroutine function under `name`; its docstring is its help."""

        def register(function: CommandFunction) -> CommandFunction:
            declared = _declare(name, aliases, access, examples, function)
            self._add(
                replace(
                    declared,
                    offline=offline,
                    audited=audited or alters,
                    alters=alters,
                    laptop=laptop,
                    terminal=terminal,
                )
            )
            return function

        return register

    def _add(self, command: Command) -> None:
        for name in (command.name, *command.aliases):
            assert name not in self.aliases, f"two commands named {name}"
            self.aliases[name] = command.name
        self.commands[command.name] = command

    def find(self, name: str) -> Command | None:
        """Return the command with this name or alias."""
        full = self.aliases.get(name)
        return self.commands[full] if full else None

    def nearest(self, name: str) -> str | None:
        """Return the registered name most like a mistyped one."""
        matches = get_close_matches(name, list(self.aliases), n=1, cutoff=0.5)
        return matches[0] if matches else None

    def __iter__(self) -> Iterator[Command]:
        return iter(sorted(self.commands.values(), key=lambda command: command.name))


def _declare(
    name: str,
    aliases: tuple[str, ...],
    access: Access | Role,
    examples: tuple[str, ...],
    function: CommandFunction,
) -> Command:
    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function).parameters
    summary, _, description = (inspect.getdoc(function) or "").partition("\n")
    app_hint = hints.get("app")
    return Command(
        name=name,
        aliases=aliases,
        summary=summary.rstrip("."),
        description=description.strip(),
        access=access,
        examples=examples,
        function=function,
        takes_app=app_hint is not None and _includes(app_hint, App),
        app_optional=app_hint is not None and app_hint is not App,
        parameters=tuple(_parameters(signature, hints)),
    )


def _parameters(
    signature: typing.Mapping[str, inspect.Parameter], hints: dict[str, Any]
) -> Iterator[Parameter]:
    for name, parameter in signature.items():
        hint = hints.get(name)
        if get_origin(hint) is not Annotated:
            continue
        kind, declaration = get_args(hint)[:2]
        many = parameter.kind is inspect.Parameter.VAR_POSITIONAL or get_origin(kind) is tuple
        yield Parameter(name, declaration, _plain(kind), parameter.default, many)


def _plain(kind: Any) -> type:
    """The value's type: `int | None` is read as int, `tuple[str, ...]` as str."""
    if get_origin(kind) in {UnionType, typing.Union}:
        kind = next(arg for arg in get_args(kind) if arg is not type(None))
    if get_origin(kind) is tuple:
        kind = get_args(kind)[0]
    return kind if isinstance(kind, type) else str


def _includes(hint: Any, kind: type) -> bool:
    return hint is kind or kind in get_args(hint)


registry = Registry()
