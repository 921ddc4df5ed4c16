"""Runtimes that come with a Debian suite: their versions, and which suite has what an app asks for."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from buildpacks.messages import note, refuse
from buildpacks.plan import Evidence, Note, Pick, Stack
from buildpacks.providers.base import Source
from buildpacks.versions import Range, Version, major, minor

BY_SUITE: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "ruby": {"bookworm": "3.1.2", "trixie": "3.3.8"},
        "php": {"bookworm": "8.2.0", "trixie": "8.4.0"},
        "java": {"bookworm": "17.0.0", "trixie": "21.0.0"},
        "rust": {"bookworm": "1.63.0", "trixie": "1.85.1"},
        "elixir": {"bookworm": "1.14.0", "trixie": "1.18.3"},
    }
)
"""The version of each language's runtime in each suite."""

_TITLES = {"ruby": "Ruby", "php": "PHP", "java": "Java", "rust": "Rust", "elixir": "Elixir"}


@dataclass(frozen=True)
class Request:
    """What a file asks for: the versions that would do."""

    text: str
    allowed: Range
    source: Evidence


@dataclass(frozen=True)
class Runtime:
    """The stack whose runtime an app gets."""

    stack: Stack
    version: str
    pick: Pick
    notes: tuple[Note, ...] = ()


def pick_runtime(source: Source, language: str, request: Request | None) -> Runtime:
    """The newest stack whose runtime is allowed; its newest patch is what Debian ships.

    Raises:
        PlanError: `version/unavailable`.
    """
    versions = BY_SUITE[language]
    stacks = [stack for stack in reversed(source.settings.stacks) if stack.suite in versions]
    if request is None:
        stack = stacks[0]
        version = versions[stack.suite]
        told = note("version/default", language=_TITLES[language], version=_line(language, version))
        return Runtime(
            stack, version, Pick(language, None, _line(language, version), Evidence("default")), (told,)
        )
    for stack in stacks:
        if request.allowed & _same_line(language, versions[stack.suite]):
            shown = _line(language, versions[stack.suite])
            return Runtime(stack, versions[stack.suite], Pick(language, request.text, shown, request.source))
    available = ", ".join(_line(language, versions[stack.suite]) for stack in reversed(stacks))
    facts = {"requested": request.text, "place": request.source.place, "available": available}
    raise refuse("version/unavailable", request.source, language=_TITLES[language], **facts)


def _parts(version: str) -> Version:
    first, second, third = (int(part) for part in version.split("."))
    return first, second, third


def _line(language: str, version: str) -> str:
    """What tells one line of a runtime from the next: Java has one number, the others two."""
    return ".".join(version.split(".")[: 1 if language == "java" else 2])


def _same_line(language: str, version: str) -> Range:
    first, second, _ = _parts(version)
    return major(first) if language == "java" else minor(first, second)
