"""A command line to a call: finds the command, binds its flags and arguments, names what is wrong."""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from cygni.commands.registry import Command, Flag, Parameter, Registry
from cygni.domain.errors import UserError

_INTEGER = re.compile(r"[+-]?[0-9]{1,12}")


class UsageError(UserError):
    """The command line does not parse; the text says why and what would."""


@dataclass
class Invocation:
    """A parsed command line. `app` is the name as typed; whether it exists is not known here."""

    command: Command
    app: str | None = None
    values: dict[str, Any] = field(default_factory=dict)
    help: bool = False


def split(line: str) -> list[str]:
    """Split a line as a shell would, without running one.

    Raises:
        UsageError: quotes do not close.
    """
    try:
        return shlex.split(line)
    except ValueError as error:
        raise UsageError(f"The command line cannot be read: {error}. Check its quotes.") from None


def parse(registry: Registry, words: Sequence[str], default_app: str | None = None) -> Invocation:
    """Find the command and bind its arguments; `default_app` is what the client's directory belongs to.

    Raises:
        UsageError: unknown command or flag (with the nearest match), missing or superfluous words.
    """
    name, rest = words[0], list(words[1:])
    command = registry.find(name)
    if command is None:
        raise UsageError(_unknown_command(registry, name))
    return _Binder(command, rest, default_app).bind()


def _unknown_command(registry: Registry, name: str) -> str:
    nearest = registry.nearest(name)
    hint = f" Did you mean {nearest}?" if nearest else ""
    return f"There is no command {name!r}.{hint} `help` lists them all."


class _Binder:
    def __init__(self, command: Command, words: list[str], default_app: str | None) -> None:
        self._command = command
        self._words = words
        self._default_app = default_app
        self._flags = {flag.option: flag for flag in command.flags}
        for flag in command.flags:
            assert isinstance(flag.declaration, Flag)
            short = (flag.declaration.short,) if flag.declaration.short else ()
            self._flags |= dict.fromkeys((*short, *flag.declaration.also), flag)
        self._positional: list[str] = []
        self._result = Invocation(command)

    def bind(self) -> Invocation:
        self._read_words()
        if self._result.help:
            return self._result
        self._take_app()
        self._bind_arguments()
        self._check_required_flags()
        return self._result

    def _read_words(self) -> None:
        words = self._words
        while words:
            word = words.pop(0)
            if word == "--":
                self._positional += words
                words.clear()
            elif word.startswith("-") and len(word) > 1:
                self._read_flag(word)
            else:
                self._positional.append(word)
                if self._rest_begins():
                    self._positional += words
                    words.clear()

    def _rest_begins(self) -> bool:
        """Whether what follows is a command line of somebody else's: after its first word."""
        command = self._command
        app_first = command.takes_app and self._result.app is None and self._default_app is None
        return command.takes_rest and len(self._positional) > app_first

    def _read_flag(self, word: str) -> None:
        name, equals, value = word.partition("=")
        if name in {"-h", "--help"}:
            self._result.help = True
        elif name in {"-a", "--app"} and self._command.takes_app:
            self._result.app = value if equals else self._next(name)
        elif flag := self._flags.get(name):
            self._keep(flag, self._flag_value(flag, name, value if equals else None))
        else:
            raise UsageError(self._unknown_flag(name))

    def _keep(self, flag: Parameter, value: Any) -> None:
        values = self._result.values
        values[flag.name] = (*values.get(flag.name, ()), value) if flag.many else value

    def _flag_value(self, flag: Parameter, name: str, value: str | None) -> Any:
        if flag.kind is bool:
            if value is not None:
                raise UsageError(f"{name} takes no value.")
            return True
        text = value if value is not None else self._next(name)
        return _bounded(name, text, flag) if flag.kind is int else text

    def _next(self, name: str) -> str:
        if not self._words:
            raise UsageError(f"{name} needs a value. Usage: {self._command.synopsis}")
        return self._words.pop(0)

    def _unknown_flag(self, name: str) -> str:
        known = [*self._flags, *(["-a", "--app"] if self._command.takes_app else [])]
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f" Did you mean {nearest[0]}?" if nearest else ""
        return f"{self._command.name} has no flag {name}.{hint} Usage: {self._command.synopsis}"

    def _take_app(self) -> None:
        """Dokku's habit: the first argument is the app where -a was not given.

        Inside a directory that belongs to an app, that only holds for a word too many.
        """
        command, result = self._command, self._result
        if not command.takes_app or result.app is not None:
            return
        if self._positional and (self._default_app is None or self._has_surplus()):
            result.app = self._positional.pop(0)
        else:
            result.app = self._default_app
        if result.app is None and not command.app_optional:
            raise UsageError(f"Which app? Name it with -a APP. Usage: {command.synopsis}")

    def _has_surplus(self) -> bool:
        arguments = self._command.arguments
        return not any(a.many for a in arguments) and len(self._positional) > len(arguments)

    def _bind_arguments(self) -> None:
        words = self._positional
        for argument in self._command.arguments:
            if argument.many:
                self._result.values[argument.name] = tuple(words)
                words = []
            elif words:
                word = words.pop(0)
                self._result.values[argument.name] = (
                    _integer(argument.name, word) if argument.kind is int else word
                )
            elif argument.required:
                raise UsageError(f"{argument.name.upper()} is missing. Usage: {self._command.synopsis}")
        if words:
            raise UsageError(f"{words[0]!r} is one word too many. Usage: {self._command.synopsis}")

    def _check_required_flags(self) -> None:
        for flag in self._command.flags:
            if flag.required and flag.name not in self._result.values:
                raise UsageError(f"{flag.option} is missing. Usage: {self._command.synopsis}")


def _bounded(name: str, text: str, flag: Parameter) -> int:
    assert isinstance(flag.declaration, Flag)
    number, least, most = _integer(name, text), flag.declaration.least, flag.declaration.most
    if (least is not None and number < least) or (most is not None and number > most):
        raise UsageError(f"{name} takes a whole number from {least} to {most}, not {number}.")
    return number


def _integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise UsageError(f"{name} takes a whole number, not {text[:40]!r}.")
    return int(text)
