"""What an instance in memory does: a script instead of an image."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

Bind = Literal["all", "loopback", "other-port", "nothing"]


@dataclass(frozen=True)
class Program:
    """Prints, binds, answers, ends; the default is a healthy app that never ends by itself. Times are seconds."""

    lines: tuple[str, ...] = ()
    """Printed first, one after the other, `line_every` apart."""
    line_every: float = 0.0
    bind: Bind = "all"
    """Where a routed instance listens; only `all` is reached from outside."""
    bind_after: float = 0.0
    status: int = 200
    """What it answers to every request."""
    answer_after: float = 0.0
    exit_after: float | None = None
    """When it ends by itself, counted from when it has bound; None: never, 0 for a one-off that is done."""
    exit_code: int = 0
    out_of_memory: bool = False
    """Its end is the kernel's doing."""
    echoes: bool = False
    """Joined to a caller, it prints the lines it reads, and ends at the end of its input."""
    stop_after: float | None = 0.0
    """From SIGTERM to its end; None: it ignores SIGTERM."""


Programs = Callable[[str, tuple[str, ...]], Program | None]
"""The program of an image and a command; None: there is no such image."""


class ProgramError(Exception):
    """A description of a program is not one; the text says what is wrong."""


def parse(text: str) -> Program:
    """Read a program from a JSON object of its fields.

    Raises:
        ProgramError: it is not JSON, or has a field that a program has not.
    """
    try:
        fields: dict[str, Any] = json.loads(text)
        made = Program(**{**fields, "lines": tuple(fields.get("lines", ()))})
    except (ValueError, TypeError, AttributeError) as error:
        raise ProgramError(f"not a program: {error}") from error
    if made.bind not in get_args(Bind):
        raise ProgramError(f"not a program: bind is one of {', '.join(get_args(Bind))}")
    return made
