"""Which Python an app asks for, and whether the stack has it.

`requires-python` of pyproject.toml decides what is allowed; `.python-version` (else `runtime.txt`) picks inside it.
The stack brings one Python, so a request for another minor version is refused, before anything is built.
"""

import re
import tomllib
from dataclasses import dataclass

from buildpacks.messages import note, refuse
from buildpacks.plan import Evidence, Note, Pick
from buildpacks.providers.base import Source
from buildpacks.versions import VersionError, minor, parse_pep440

_FILE = ".python-version"
_RUNTIME = "runtime.txt"
_VERSION = re.compile(r"(\d{1,2})\.(\d{1,3})(?:\.(\d{1,3}))?")
_MISSPELLED = frozenset(
    {"python-version", ".python_version", "python_version", ".python-version.txt", ".pythonversion"}
)


@dataclass(frozen=True)
class _Request:
    text: str
    line: tuple[int, int]
    source: Evidence


def pick_python(source: Source) -> tuple[Pick, list[Note]]:
    """The stack's Python as a pick, with the places that asked.

    Raises:
        PlanError: a file is malformed, or asks for what the stack does not have.
    """
    available = source.settings.stack.python
    notes: list[Note] = []
    allowed = _allowed(source)
    request = _request(source, notes)
    if request is None:
        evidence = allowed or Evidence("default")
        if allowed is None:
            notes.append(note("python/default-version", version=available))
        return Pick("python", allowed.detail if allowed else None, available, evidence), notes
    _compare(source, request)
    if request.text not in {available, _line_of(available)}:
        notes.append(
            note("python/patch", place=request.source.place, requested=request.text, available=available)
        )
    return Pick("python", request.text, available, request.source, (allowed,) if allowed else ()), notes


def _compare(source: Source, request: _Request) -> None:
    stack = source.settings.stack
    if request.line != _minor_of(stack.python):
        raise refuse(
            "python/version-unavailable",
            request.source,
            requested=request.text,
            available=_line_of(stack.python),
            line=_line_of(stack.python),
            place=request.source.place,
            suite=stack.suite,
        )


def _request(source: Source, notes: list[Note]) -> _Request | None:
    _check_spelling(source)
    chosen = _read_version(source, _FILE, "")
    runtime = source.text(_RUNTIME)
    if chosen is not None:
        if runtime is not None:
            notes.append(note("python/version-files"))
        return chosen
    if runtime is None:
        return None
    notes.append(note("python/runtime-txt"))
    return _read_version(source, _RUNTIME, "python-")


def _check_spelling(source: Source) -> None:
    if source.has(_FILE):
        return
    for name in sorted(source.root):
        if name.strip() in _MISSPELLED or (name != name.strip() and name.strip() == _FILE):
            raise refuse("python/misspelled-version-file", Evidence("spelling", name), path=name)


def _read_version(source: Source, path: str, prefix: str) -> _Request | None:
    text = source.text(path)
    if text is None:
        return None
    lines = [(number, line.strip()) for number, line in enumerate(text.split("\n"), start=1)]
    stated = [(number, line) for number, line in lines if line and not line.startswith("#")]
    if not stated:
        raise refuse("python/no-version", Evidence("version", path), path=path)
    if len(stated) > 1:
        numbers = ", ".join(str(number) for number, _ in stated)
        raise refuse(
            "python/multiple-versions", Evidence("version", path, stated[1][0]), path=path, lines=numbers
        )
    number, line = stated[0]
    match = _VERSION.fullmatch(line.removeprefix(prefix))
    if match is None or not line.startswith(prefix):
        raise refuse(
            "python/invalid-version", Evidence("version", path, number), path=path, line=number, text=line
        )
    return _Request(match[0], (int(match[1]), int(match[2])), Evidence("version", path, number, match[0]))


def _allowed(source: Source) -> Evidence | None:
    """Where `requires-python` is, when the stack's Python satisfies it; None without one."""
    text = source.text("pyproject.toml")
    if text is None:
        return None
    requested = _requires_python(text)
    if requested is None:
        return None
    evidence = Evidence("requires-python", "pyproject.toml", _line_number(text, "requires-python"), requested)
    try:
        allowed = parse_pep440(requested)
    except VersionError:
        raise refuse(
            "python/invalid-requires-python", evidence, requested=requested, place=evidence.place
        ) from None
    stack = source.settings.stack
    if not allowed & minor(*_minor_of(stack.python)):
        facts = {"requested": requested, "available": _line_of(stack.python), "suite": stack.suite}
        raise refuse("python/requires-python", evidence, place=evidence.place, **facts)
    return evidence


def _requires_python(text: str) -> str | None:
    try:
        project = tomllib.loads(text).get("project", {})
    except tomllib.TOMLDecodeError as error:
        raise refuse(
            "python/invalid-pyproject", Evidence("toml", "pyproject.toml"), detail=str(error)
        ) from None
    except RecursionError:
        raise refuse(
            "python/invalid-pyproject", Evidence("toml", "pyproject.toml"), detail="it is nested too deeply"
        ) from None
    value = project.get("requires-python") if isinstance(project, dict) else None
    return value if isinstance(value, str) else None


def _line_number(text: str, word: str) -> int | None:
    return next((number for number, line in enumerate(text.split("\n"), start=1) if word in line), None)


def _minor_of(version: str) -> tuple[int, int]:
    first, second, *_ = version.split(".")
    return int(first), int(second)


def _line_of(version: str) -> str:
    return ".".join(version.split(".")[:2])
