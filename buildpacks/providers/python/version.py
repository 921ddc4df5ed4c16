"""Which Python an app asks for, and which stack has it.

`requires-python` (or Poetry's `python`) decides what is allowed; the first of `cygni.toml`, `.python-version`,
`runtime.txt`, `.tool-versions`, Pipfile and Pipfile.lock that names a version picks inside it. Every stack brings one
Python; without a request the default stack is taken, or the newest one that is allowed.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from buildpacks.documents import Document, lines_of, read_json
from buildpacks.messages import note, refuse
from buildpacks.plan import Evidence, Note, Pick, Stack
from buildpacks.providers.base import Source
from buildpacks.providers.python.managers import PIPENV, UV, Installation
from buildpacks.providers.python.project import PYPROJECT, read_pipfile
from buildpacks.versions import Range, VersionError, minor, parse_npm, parse_pep440

_FILE = ".python-version"
_RUNTIME = "runtime.txt"
_TOOLS = ".tool-versions"
_VERSION = re.compile(r"(\d{1,2})\.(\d{1,3})(?:\.(\d{1,3}))?")
_MISSPELLED = frozenset(
    {"python-version", ".python_version", "python_version", ".python-version.txt", ".pythonversion"}
)
_OLDEST_SUPPORTED = (3, 10)
_NEWEST_KNOWN = (3, 14)


@dataclass(frozen=True)
class PythonVersion:
    """The stack whose Python the app gets, and how that was decided."""

    stack: Stack
    pick: Pick
    notes: tuple[Note, ...]


@dataclass(frozen=True)
class _Request:
    text: str
    line: tuple[int, int]
    source: Evidence


def pick_python(source: Source, installation: Installation) -> PythonVersion:
    """The stack that has the Python that is asked for.

    Raises:
        PlanError: a file is malformed, or asks for what no stack has.
    """
    notes: list[Note] = []
    allowed, place = _allowed(source, installation)
    requests = _requests(source, installation, notes)
    if not requests:
        return _unasked(source, allowed, place, notes)
    request, *losers = requests
    stack = _stack_with(source, request)
    _check_allowed(request, allowed, place)
    others = tuple(item for item in (place, *(loser.source for loser in losers)) if item is not None)
    if request.text not in {stack.python, stack.python_line}:
        facts = {"place": request.source.place, "requested": request.text, "available": stack.python}
        notes.append(note("python/patch", **facts))
    return PythonVersion(
        stack, Pick("python", request.text, stack.python, request.source, others), tuple(notes)
    )


def _unasked(
    source: Source, allowed: Range | None, place: Evidence | None, notes: list[Note]
) -> PythonVersion:
    """The default stack where it is allowed, else the newest that is."""
    stacks = source.settings.stacks
    if allowed is None or place is None:
        notes.append(note("python/default-version", version=stacks[0].python))
        return PythonVersion(
            stacks[0], Pick("python", None, stacks[0].python, Evidence("default")), tuple(notes)
        )
    fitting = [stack for stack in stacks if allowed & minor(*_minor_of(stack.python))]
    if not fitting:
        facts = {"requested": place.detail, "available": _available(source), "place": place.place}
        raise refuse("python/requires-python", place, **facts)
    stack = fitting[0] if fitting[0] is stacks[0] else fitting[-1]
    return PythonVersion(stack, Pick("python", place.detail, stack.python, place), tuple(notes))


def _stack_with(source: Source, request: _Request) -> Stack:
    stack = next((stack for stack in source.settings.stacks if _minor_of(stack.python) == request.line), None)
    if stack is not None:
        return stack
    facts = {
        "requested": request.text,
        "place": request.source.place,
        "available": _available(source),
        "line": _nearest(source, request.line),
    }
    if request.line < _OLDEST_SUPPORTED:
        raise refuse("python/version-eol", request.source, **facts)
    if request.line > _NEWEST_KNOWN:
        raise refuse("python/version-unknown", request.source, **facts)
    raise refuse("python/version-unavailable", request.source, **facts)


def _check_allowed(request: _Request, allowed: Range | None, place: Evidence | None) -> None:
    """Refuse two files that contradict each other; installers find that out only later."""
    if allowed is None or place is None or allowed & minor(*request.line):
        return
    facts = {"requested": request.text, "place": request.source.place}
    raise refuse(
        "python/version-conflict", request.source, place, allowed=place.detail, other=place.place, **facts
    )


def _available(source: Source) -> str:
    return ", ".join(stack.python_line for stack in source.settings.stacks)


def _nearest(source: Source, line: tuple[int, int]) -> str:
    def distance(stack: Stack) -> tuple[int, int]:
        first, second = _minor_of(stack.python)
        return abs(first - line[0]), abs(second - line[1])

    return min(source.settings.stacks, key=distance).python_line


def _requests(source: Source, installation: Installation, notes: list[Note]) -> list[_Request]:
    """Every place that names a version, the one that counts first."""
    _check_spelling(source)
    file = _read_version(source, _FILE, "")
    runtime = _runtime(source, installation, notes, beaten=file is not None)
    readers: tuple[Callable[[Source, Installation], _Request | None], ...] = (_setting, _tools, _pipfile)
    setting, tools, pipfile = (reader(source, installation) for reader in readers)
    return [request for request in (setting, file, runtime, tools, pipfile) if request is not None]


def _runtime(
    source: Source, installation: Installation, notes: list[Note], *, beaten: bool
) -> _Request | None:
    if not source.has(_RUNTIME):
        return None
    if installation.manager is UV and installation.locked and not beaten:
        raise refuse("python/runtime-txt-with-uv", Evidence("version", _RUNTIME))
    notes.append(note("python/version-files" if beaten else "python/runtime-txt"))
    return None if beaten else _read_version(source, _RUNTIME, "python-")


def _setting(source: Source, _: Installation) -> _Request | None:
    text = source.settings.versions.get("python")
    place = source.settings.origin("versions.python")
    if text is None:
        return None
    return _parse(text, text, place, place.place)


def _tools(source: Source, _: Installation) -> _Request | None:
    for number, line in lines_of(source.text(_TOOLS) or ""):
        words = line.split()
        if words[0] == "python" and len(words) > 1:
            return _parse(words[1], line, Evidence("version", _TOOLS, number, words[1]), _TOOLS)
    return None


def _pipfile(source: Source, installation: Installation) -> _Request | None:
    if installation.manager is not PIPENV:
        return None
    lock = read_json(source, "Pipfile.lock", "python/invalid-lockfile")
    for document, keys in ((read_pipfile(source), ("requires",)), (lock, ("_meta", "requires"))):
        for name in ("python_full_version", "python_version"):
            text = document.text_at(*keys, name)
            if text and text != "*":
                return _parse(text, text, _detailed(document, name, text), document.path)
    return None


def _detailed(document: Document, name: str, text: str) -> Evidence:
    return Evidence("version", document.path, document.line(name), text)


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
    stated = [
        (number, line.strip())
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not line.strip().startswith("#")
    ]
    if not stated:
        raise refuse("python/no-version", Evidence("version", path), path=path)
    if len(stated) > 1:
        numbers = ", ".join(str(number) for number, _ in stated)
        raise refuse(
            "python/multiple-versions", Evidence("version", path, stated[1][0]), path=path, lines=numbers
        )
    number, line = stated[0]
    place = Evidence("version", path, number, line)
    return _parse(line.removeprefix(prefix) if line.startswith(prefix) else "", line, place, path)


def _parse(version: str, text: str, place: Evidence, path: str) -> _Request:
    match = _VERSION.fullmatch(version)
    if match is None:
        raise refuse("python/invalid-version", place, path=path, line=place.line or 1, text=text)
    return _Request(match[0], (int(match[1]), int(match[2])), place)


def _allowed(source: Source, installation: Installation) -> tuple[Range | None, Evidence | None]:
    """What pyproject.toml allows and where it says so."""
    del source
    document = installation.project.document
    requested = document.text_at("project", "requires-python")
    if requested is not None:
        place = Evidence("requires-python", PYPROJECT, document.line("requires-python"), requested)
        return _range(requested, parse_pep440, place), place
    poetry = document.text_at("tool", "poetry", "dependencies", "python")
    if poetry is not None:
        place = Evidence("python", PYPROJECT, document.line("python ") or document.line("python="), poetry)
        return _range(poetry, _poetry_range, place), place
    return None, None


def _poetry_range(text: str) -> Range:
    """Poetry's constraints: PEP 440's, and `^3.11`, `~3.11`, `3.11` as npm reads them."""
    return parse_npm(text.replace(",", " ").replace(".*", ".x"))


def _range(text: str, parse: Callable[[str], Range], place: Evidence) -> Range:
    try:
        return parse(text)
    except VersionError:
        raise refuse("python/invalid-requires-python", place, requested=text, place=place.place) from None


def _minor_of(version: str) -> tuple[int, int]:
    first, second, *_ = version.split(".")
    return int(first), int(second)
