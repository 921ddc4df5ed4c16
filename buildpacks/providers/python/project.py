"""pyproject.toml and Pipfile, read for what a plan needs: dependencies, scripts, whether the project is a package."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from buildpacks.documents import Document, read_toml
from buildpacks.plan import Evidence
from buildpacks.providers.base import Source
from buildpacks.providers.python.requirements import Requirement, Requirements

PYPROJECT = "pyproject.toml"
PIPFILE = "Pipfile"
_NAMED = re.compile(r"\s*([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)\s*(?:\[([^\]]*)\])?\s*(.*)", re.DOTALL)
_LOCAL = re.compile(
    r"""\bpath\s*=\s*["']|\bfile:|\bworkspace\s*=\s*true|^\[tool\.uv\.workspace\]|develop\s*=\s*true""",
    re.MULTILINE,
)
_SCRIPT_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Project:
    """pyproject.toml; an empty one when there is none."""

    document: Document

    @property
    def is_there(self) -> bool:
        """Whether it describes a project, and not only how tools are set up."""
        tables = (self.document.table("project"), self.document.table("tool", "poetry"))
        return any(tables) or bool(self.document.table("build-system"))

    @property
    def is_poetry(self) -> bool:
        """Whether its dependencies are Poetry's, or Poetry builds it."""
        backend = self.document.text_at("build-system", "build-backend") or ""
        return bool(self.document.table("tool", "poetry")) or backend.startswith("poetry")

    @cached_property
    def scripts(self) -> Mapping[str, str]:
        """Console scripts by name."""
        found = {
            **self.document.strings("tool", "poetry", "scripts"),
            **self.document.strings("project", "scripts"),
        }
        return {name: target for name, target in found.items() if _SCRIPT_NAME.fullmatch(name)}

    @property
    def has_backend(self) -> bool:
        """Whether it says how to build it as a package."""
        return bool(self.document.text_at("build-system", "build-backend"))

    @property
    def local(self) -> Evidence | None:
        """The first place that refers to other files of the tree."""
        match = _LOCAL.search(self.document.text)
        if match is None:
            return None
        return Evidence("local", PYPROJECT, self.document.text.count("\n", 0, match.start()) + 1)

    def requirements(self) -> Requirements:
        """The dependencies that are installed in production."""
        found = Requirements()
        for text in self.document.texts("project", "dependencies"):
            _take(found, text, self.document)
        for name, value in self.document.table("tool", "poetry", "dependencies").items():
            if name.lower() != "python":
                _take_table(found, name, value, self.document)
        found.local = self.local
        return found


def read_project(source: Source) -> Project:
    """Read pyproject.toml.

    Raises:
        PlanError: `python/invalid-pyproject`.
    """
    return Project(read_toml(source, PYPROJECT, "python/invalid-pyproject"))


def read_pipfile(source: Source) -> Document:
    """Read Pipfile.

    Raises:
        PlanError: `python/invalid-pipfile`.
    """
    return read_toml(source, PIPFILE, "python/invalid-pipfile")


def pipfile_requirements(document: Document) -> Requirements:
    """What `[packages]` of a Pipfile asks for."""
    found = Requirements()
    for name, value in document.table("packages").items():
        _take_table(found, name, value, document)
        if isinstance(value, dict) and ("path" in value or "file" in value or value.get("editable")):
            found.local = found.local or document.place(name, "local")
    return found


def _take(found: Requirements, text: str, document: Document) -> None:
    match = _NAMED.match(text)
    if match:
        pinned = match[3].lstrip().startswith(("==", "===", "@"))
        _add(found, match[1], (match[2] or "").split(","), document, pinned=pinned)


def _take_table(found: Requirements, name: str, value: object, document: Document) -> None:
    extras = value.get("extras") if isinstance(value, dict) else None
    version = value.get("version") if isinstance(value, dict) else value
    pinned = isinstance(version, str) and bool(re.match(r"\s*(?:==)?\s*\d", version))
    _add(found, name, extras if isinstance(extras, list) else (), document, pinned=pinned)


def _add(
    found: Requirements, name: str, extras: Iterable[object], document: Document, *, pinned: bool
) -> None:
    key = re.sub(r"[-_.]+", "-", name).lower()
    wanted = frozenset(str(extra).strip().lower() for extra in extras if str(extra).strip())
    found.packages.setdefault(key, Requirement(key, wanted, pinned, document.place(name, "dependency")))
