"""requirements.txt, read for what a plan needs: names, which files it includes, whether it refers to local paths.

pip's own reading decides what is installed; see "Requirements File Format" in pip's documentation.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from buildpacks.plan import Evidence
from buildpacks.providers.base import Source

NAME = "requirements.txt"
_FILES_LIMIT = 20
_INCLUDE = re.compile(r"(?:-r|-c|--requirement|--constraint)(?:\s*=\s*|\s*)(\S+)")
_LOCAL = re.compile(
    r"(?:-e|--editable)(?:\s|=)|\.{0,2}/|file:|\S+\s*@\s*file:|(?:-f|--find-links)[\s=]+(?!\w+:)"
)
_PACKAGE = re.compile(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?\s*(.*)")
_SAFE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class Requirement:
    """One named package. `extras` are lower-case; `pinned`: an exact version or a URL is given."""

    name: str
    extras: frozenset[str]
    pinned: bool
    source: Evidence


@dataclass
class Requirements:
    """What requirements.txt and the files it includes ask for."""

    packages: dict[str, Requirement] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    """Files that pip reads, in the order they were met."""
    local: Evidence | None = None
    """The first line that needs more of the tree than `files`."""

    def get(self, name: str) -> Requirement | None:
        """The requirement of this (normalised) name."""
        return self.packages.get(name)

    def __contains__(self, name: str) -> bool:
        return name in self.packages


def read_requirements(source: Source, path: str = NAME) -> Requirements:
    """Read a requirements file and those it includes.

    Raises:
        PlanError: one is not UTF-8.
    """
    found = Requirements()
    _read(source, path, found)
    return found


def _read(source: Source, path: str, found: Requirements) -> None:
    if path in found.files:
        return
    text = source.text(path)
    if text is None or len(found.files) >= _FILES_LIMIT:
        found.local = found.local or Evidence("requirements", path)
        return
    found.files.append(path)
    if source.real(path) != path:
        found.local = found.local or Evidence("link", path)
    for number, line in _logical_lines(text):
        _take(source, Evidence("requirements", path, number), line, found)


def _take(source: Source, place: Evidence, line: str, found: Requirements) -> None:
    include = _INCLUDE.match(line)
    if include:
        _include(source, place, include[1], found)
    elif _LOCAL.match(line):
        found.local = found.local or place
    elif not line.startswith("-"):
        _take_package(place, line, found)


def _include(source: Source, place: Evidence, target: str, found: Requirements) -> None:
    assert place.path is not None
    path = str(PurePosixPath(place.path).parent / target)
    if _SAFE_PATH.fullmatch(path):
        _read(source, path, found)
    elif "://" not in target:
        found.local = found.local or place


def _take_package(place: Evidence, line: str, found: Requirements) -> None:
    match = _PACKAGE.match(line)
    if match is None or match[3].startswith(("://", "+", ":")):
        return
    name = re.sub(r"[-_.]+", "-", match[1]).lower()
    extras = frozenset(extra.strip().lower() for extra in (match[2] or "").split(",") if extra.strip())
    pinned = match[3].startswith(("==", "===", "@"))
    found.packages.setdefault(name, Requirement(name, extras, pinned, place))


def _logical_lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines with their number, continuations joined, comments and blanks left out."""
    pending, start = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        start = start if pending else number
        stripped = re.sub(r"(^|\s)#.*$", "", line.rstrip("\r"))
        if stripped.endswith("\\"):
            pending += stripped[:-1] + " "
            continue
        whole, pending = (pending + stripped).strip(), ""
        if whole:
            yield start, whole
