"""TOML and JSON files of a tree, read as data that may be anything; what cannot be read is refused with its place."""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from buildpacks.messages import refuse
from buildpacks.plan import Evidence, PlanError

if TYPE_CHECKING:
    from buildpacks.providers.base import Source

_POSITION = re.compile(r"at line (\d+), column (\d+)")
_LARGE = 64 << 20


@dataclass(frozen=True)
class Document:
    """A parsed file. Every access checks the type, since pushed files may hold anything."""

    path: str
    text: str = ""
    data: Mapping[str, object] = field(default_factory=dict)

    def table(self, *keys: str) -> Mapping[str, object]:
        """The object below these keys; empty when there is none."""
        value: object = self.data
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        return value if isinstance(value, dict) else {}

    def text_at(self, *keys: str) -> str | None:
        """The text below these keys; None when there is none."""
        value = self.table(*keys[:-1]).get(keys[-1])
        return value if isinstance(value, str) else None

    def strings(self, *keys: str) -> Mapping[str, str]:
        """The entries below these keys that are text."""
        return {name: value for name, value in self.table(*keys).items() if isinstance(value, str)}

    def texts(self, *keys: str) -> tuple[str, ...]:
        """The texts of the list below these keys."""
        value = self.table(*keys[:-1]).get(keys[-1])
        return tuple(item for item in value if isinstance(item, str)) if isinstance(value, list) else ()

    def line(self, word: str) -> int | None:
        """The first line that holds this word."""
        lines = enumerate(self.text.split("\n"), start=1)
        return next((number for number, line in lines if word in line), None)

    def place(self, word: str, rule: str | None = None) -> Evidence:
        """Where a word is in the file."""
        return Evidence(rule or word, self.path, self.line(word))


def read_toml(source: "Source", path: str, failure: str = "document/invalid", **facts: object) -> Document:
    """A TOML file; an empty document when there is none.

    Raises:
        PlanError: `failure`, when it cannot be parsed; the detail names line and column.
    """
    text = source.text(path)
    if text is None:
        return Document(path)
    try:
        return Document(path, text, tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        found = _POSITION.search(str(error))
        detail = re.sub(r"\s*\(at [^)]*\)$", "", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        where = f"Line {line}, column {found[2]}" if found else f"Line {line}, at the end of the file"
        raise _refused(failure, path, line, f"{where}: {detail}", facts) from None
    except (RecursionError, ValueError) as error:
        raise _refused(failure, path, None, _odd(error), facts) from None


def read_json(
    source: "Source", path: str, failure: str = "document/invalid", *, comments: bool = False, **facts: object
) -> Document:
    """A JSON file that holds an object; an empty document when there is none.

    Raises:
        PlanError: `failure`, when it cannot be parsed or holds no object; the detail names line and column.
    """
    text = source.text(
        path, _LARGE if path.endswith(("lock.json", ".lock", "npm-shrinkwrap.json")) else 1 << 20
    )
    if text is None:
        return Document(path)
    try:
        data = json.loads(_without_comments(text) if comments else text)
    except json.JSONDecodeError as error:
        detail = f"Line {error.lineno}, column {error.colno}: {error.msg}"
        raise _refused(failure, path, error.lineno, detail, facts) from None
    except (RecursionError, ValueError) as error:
        raise _refused(failure, path, None, _odd(error), facts) from None
    if not isinstance(data, dict):
        raise _refused(failure, path, 1, "It must hold an object, {…}", facts)
    return Document(path, text, data)


def _refused(
    failure: str, path: str, line: int | None, detail: str, facts: Mapping[str, object]
) -> PlanError:
    return refuse(failure, Evidence("syntax", path, line), detail=detail, path=path, **facts)


def _odd(error: Exception) -> str:
    return "It is nested too deeply" if isinstance(error, RecursionError) else str(error)


_PIECES = re.compile(r'"(?:[^"\\\n]|\\.)*"|//[^\n]*|/\*.*?\*/|,(?=\s*[}\]])', re.DOTALL)


def _without_comments(text: str) -> str:
    """JSON with comments and trailing commas as plain JSON; line numbers stay."""

    def keep(match: re.Match[str]) -> str:
        return match[0] if match[0].startswith('"') else "\n" * match[0].count("\n")

    return _PIECES.sub(keep, text)


def lines_of(text: str, comment: str = "#") -> Iterator[tuple[int, str]]:
    """Lines with their number, stripped, without comments and blanks."""
    for number, line in enumerate(text.split("\n"), start=1):
        kept = line.partition(comment)[0].strip()
        if kept:
            yield number, kept
