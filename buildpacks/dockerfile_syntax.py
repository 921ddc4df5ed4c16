"""Dockerfile text to instructions, in the steps BuildKit's parser takes (frontend/dockerfile/parser).

Where versions of that parser disagree, or where its reading could be made to differ from ours, the text is refused:
two meanings of one file is what an attack on the checks would need.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from buildpacks.messages import refuse
from buildpacks.plan import Evidence, PlanError

_DIRECTIVE = re.compile(r"#\s*([a-zA-Z][a-zA-Z0-9]*)\s*=\s*(.+?)\s*", re.ASCII)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\x85\u2028\u2029]")
_BLANKS = re.compile(r"[\t ]+")
_FLAG = re.compile(r"(--[^\s]*)(?:\s+|$)")
_LINE_BYTES = 65_000
"""BuildKit's reader stops at lines of 65,535 bytes; joined ones stay below it."""


@dataclass(frozen=True)
class Instruction:
    """One instruction with its continuation lines joined. Lines count from 1; `last` is its last line."""

    line: int
    last: int
    keyword: str
    """Upper case."""
    flags: tuple[str, ...]
    arguments: str

    @property
    def text(self) -> str:
        """The instruction on one line."""
        return " ".join(part for part in (self.keyword, *self.flags, self.arguments) if part)


@dataclass(frozen=True)
class Directive:
    """A parser directive at the top, such as `# syntax=…`."""

    line: int
    name: str
    text: str


@dataclass(frozen=True)
class Parsed:
    """A Dockerfile. `lines` is its text without line ends, directives blanked out; `escape` continues lines."""

    path: str
    lines: tuple[str, ...]
    escape: str
    directives: tuple[Directive, ...]
    instructions: tuple[Instruction, ...]

    def evidence(self, line: int, rule: str = "dockerfile") -> Evidence:
        """A line of this file."""
        return Evidence(rule, self.path, line)

    def refuse(
        self, instruction: Instruction, detail: str, identifier: str = "dockerfile/unclear"
    ) -> PlanError:
        """The failure that names an instruction and what is wrong with it."""
        place = self.evidence(instruction.line)
        return refuse(
            identifier, place, path=self.path, line=instruction.line, text=instruction.text, detail=detail
        )


def parse(text: str, path: str = "Dockerfile") -> Parsed:
    """Read a Dockerfile.

    Raises:
        PlanError: `dockerfile/syntax` with the line.
    """
    lines = [line.removesuffix("\r") for line in text.removeprefix("\ufeff").split("\n")]
    for number, line in enumerate(lines, start=1):
        if _CONTROL.search(line):
            raise _syntax(path, number, line, "it holds a control character")
    if lines[0].startswith("#!"):
        # Newer parsers look for directives behind it, older ones do not: a blank line ends them for both.
        lines[0] = ""
    directives = _directives(lines)
    escape = _escape(path, directives)
    for directive in directives:
        lines[directive.line - 1] = ""
    instructions = tuple(_instructions(path, lines, escape))
    return Parsed(path, tuple(lines), escape, directives, instructions)


def _syntax(path: str, number: int, line: str, detail: str) -> PlanError:
    return refuse(
        "dockerfile/syntax",
        Evidence("dockerfile", path, number),
        path=path,
        line=number,
        text=line,
        detail=detail,
    )


def _directives(lines: list[str]) -> tuple[Directive, ...]:
    """Directives stand at the very top; the first line that is none ends them."""
    found = []
    for number, line in enumerate(lines, start=1):
        match = _DIRECTIVE.fullmatch(line)
        if match is None:
            break
        found.append(Directive(number, match[1].lower(), line))
    return tuple(found)


def _escape(path: str, directives: tuple[Directive, ...]) -> str:
    stated = [directive for directive in directives if directive.name == "escape"]
    if not stated:
        return "\\"
    value = stated[0].text.partition("=")[2].strip()
    if value not in {"\\", "`"} or len(stated) > 1:
        raise _syntax(path, stated[-1].line, stated[-1].text, "the escape character must be \\ or `, once")
    return value


def _instructions(path: str, lines: list[str], escape: str) -> Iterator[Instruction]:
    pending, start = "", 0
    for number, line in enumerate(lines, start=1):
        if line.strip().startswith("#") or not line.strip():
            # Inside an instruction too, comments and blank lines are left out and the instruction goes on.
            continue
        start = start if pending else number
        body, goes_on = _continuation(path, number, line, escape)
        pending += body if pending else body.lstrip()
        if goes_on:
            pending = pending or " "
            continue
        yield _instruction(path, start, number, pending)
        pending = ""
    if pending.strip():
        yield _instruction(path, start, len(lines), pending)


def _continuation(path: str, number: int, line: str, escape: str) -> tuple[str, bool]:
    trimmed = line.rstrip(" \t")
    if not trimmed.endswith(escape):
        return line, False
    if trimmed.endswith(escape * 2):
        # Older parsers take the last one for a continuation, newer ones do not.
        raise _syntax(path, number, line, "a line may not end with two escape characters")
    return trimmed[:-1], True


def _instruction(path: str, start: int, last: int, text: str) -> Instruction:
    if len(text.encode()) > _LINE_BYTES:
        raise _syntax(path, start, text, f"it is longer than {_LINE_BYTES} bytes")
    keyword, _, rest = _partition(text.strip())
    if not re.fullmatch(r"[A-Za-z]+", keyword):
        raise _syntax(path, start, text, "it does not start with an instruction")
    flags, arguments = _flags(path, start, rest)
    return Instruction(start, last, keyword.upper(), flags, arguments)


def _partition(text: str) -> tuple[str, str, str]:
    parts = _BLANKS.split(text, maxsplit=1)
    return parts[0], " ", parts[1] if len(parts) > 1 else ""


def _flags(path: str, line: int, rest: str) -> tuple[tuple[str, ...], str]:
    """Words that start with `--`, before the first that does not. Quoted flags are refused: they can be read twice."""
    flags: list[str] = []
    rest = rest.strip()
    while match := _FLAG.match(rest):
        if match[1] == "--":
            break
        if re.search(r"[\"'\\`]", match[1]):
            raise _syntax(path, line, match[1], "a flag may not hold quotes or escapes")
        flags.append(match[1])
        rest = rest[match.end() :]
    return tuple(flags), rest


def nested(instruction: Instruction, path: str) -> Instruction:
    """The instruction that an ONBUILD carries."""
    return _instruction(path, instruction.line, instruction.last, instruction.arguments)
