"""The one place with sentences for people: failures and notes of detection, planning and builds.

A message's body says what happened, why, and what to do. Facts come from pushed code, so every one is made
printable and is cut to a length before it goes in.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from buildpacks.failure_texts import FAILURES
from buildpacks.note_texts import NOTES
from buildpacks.plan import Evidence, Failure, Note, PlanError
from buildpacks.walk import printable

_FACT_LENGTH = 200
_LISTED = 20


@dataclass(frozen=True)
class _Facts:
    """Facts for a template; `values` are printable and bounded."""

    values: dict[str, str]

    @classmethod
    def of(cls, facts: dict[str, object]) -> "_Facts":
        return cls({name: _text(value) for name, value in facts.items()})

    def fill(self, template: str) -> str:
        return template.format_map(self.values)


def failure(identifier: str, *evidence: Evidence, **facts: object) -> Failure:
    """The failure with this id, its text filled with facts."""
    text, filled = FAILURES[identifier], _Facts.of(facts)
    return Failure(
        identifier, text.cls, filled.fill(text.title), filled.fill(text.body), evidence, text.retry
    )


def refuse(identifier: str, *evidence: Evidence, **facts: object) -> PlanError:
    """The failure with this id as an exception to raise."""
    return PlanError(failure(identifier, *evidence, **facts))


def note(identifier: str, **facts: object) -> Note:
    """The note with this id, its text filled with facts."""
    level: Literal["info", "warning"]
    level, template = NOTES[identifier]
    return Note(level, identifier, _Facts.of(facts).fill(template))


def listing(names: Iterable[str], limit: int = _LISTED) -> str:
    """Up to `limit` names, one a line, indented; the rest as a number."""
    shown = list(names)
    lines = [f"  {printable(name, 100)}" for name in shown[:limit]]
    if len(shown) > limit:
        lines.append(f"  … and {len(shown) - limit} more")
    return "\n".join(lines)


class Block(str):
    """A fact of several lines that was made printable already, such as a `listing`."""

    __slots__ = ()


def _text(value: object) -> str:
    return str(value) if isinstance(value, Block | int) else printable(str(value), _FACT_LENGTH)
