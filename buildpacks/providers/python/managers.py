"""Python's package managers: which one an app uses, and how each installs into `/opt/venv`.

Each installs what its lock says, without development groups and without the project itself; a project that is a
package is added afterwards, when the source is there.
"""

from dataclasses import dataclass
from types import MappingProxyType

from buildpacks.documents import read_json
from buildpacks.messages import Block, listing, note, refuse
from buildpacks.plan import CacheMount, Evidence, Note
from buildpacks.providers.base import Source
from buildpacks.providers.python.project import (
    PIPFILE,
    PYPROJECT,
    Project,
    pipfile_requirements,
    read_pipfile,
    read_project,
)
from buildpacks.providers.python.requirements import NAME as REQUIREMENTS
from buildpacks.providers.python.requirements import Requirements, read_requirements

VENV = "/opt/venv"
TOOL = "/opt/tool"
_PIP = "python3 -m pip --python {python} install --no-input --disable-pip-version-check --progress-bar off"


def pip_install(arguments: str, environment: str = VENV) -> str:
    """The command with which the stack's pip installs into a virtual environment."""
    return f"{_PIP.format(python=f'{environment}/bin/python')} {arguments}"


@dataclass(frozen=True)
class Manager:
    """A package manager. `locked` and `loose` install with and without its lock file; `tool` is pip's name for it."""

    name: str
    title: str
    manifest: str
    lock: str | None
    locked: str
    loose: str
    cache: CacheMount
    tool: str | None = None
    fix: str = ""
    """What writes the lock on the pusher's machine."""


_PIP_CACHE = CacheMount("pip", "/root/.cache/pip")
_UV_CACHE = CacheMount("uv", "/root/.cache/uv")

PIP = Manager(
    "pip",
    "pip",
    REQUIREMENTS,
    None,
    pip_install(f"-r {REQUIREMENTS}"),
    pip_install(f"-r {REQUIREMENTS}"),
    _PIP_CACHE,
)
PIPENV = Manager(
    "pipenv",
    "Pipenv",
    PIPFILE,
    "Pipfile.lock",
    f"{TOOL}/bin/pipenv install --deploy",
    f"{TOOL}/bin/pipenv install --skip-lock",
    CacheMount("pipenv", "/root/.cache/pipenv"),
    "pipenv==2026.10.3",
    "pipenv lock",
)
POETRY = Manager(
    "poetry",
    "Poetry",
    PYPROJECT,
    "poetry.lock",
    f"{TOOL}/bin/poetry sync --only main --no-root --no-interaction --no-ansi",
    f"{TOOL}/bin/poetry install --only main --no-root --no-interaction --no-ansi",
    CacheMount("poetry", "/root/.cache/pypoetry"),
    "poetry==2.5.1",
    "poetry lock",
)
UV = Manager(
    "uv",
    "uv",
    PYPROJECT,
    "uv.lock",
    f"{TOOL}/bin/uv sync --locked --no-default-groups --no-install-project --no-progress",
    f"{TOOL}/bin/uv pip install --python {VENV}/bin/python --no-progress -r {PYPROJECT}",
    _UV_CACHE,
    "uv==0.13.9",
    "uv lock",
)
PDM = Manager(
    "pdm",
    "PDM",
    PYPROJECT,
    "pdm.lock",
    f"{TOOL}/bin/pdm install --check --prod --no-self",
    f"{TOOL}/bin/pdm install --prod --no-self",
    CacheMount("pdm", "/root/.cache/pdm"),
    "pdm==2.29.4 'hishel[httpx2]<2'",
    "pdm lock",
)

MANAGERS = (PIP, PIPENV, POETRY, UV, PDM)
LOCKED = (PIPENV, POETRY, UV, PDM)

ENVIRONMENT = MappingProxyType(
    {
        "VIRTUAL_ENV": VENV,
        "PIPENV_NOSPIN": "1",
        "PIPENV_VERBOSITY": "-1",
        "POETRY_VIRTUALENVS_CREATE": "false",
        "UV_LINK_MODE": "copy",
        "UV_PROJECT_ENVIRONMENT": VENV,
        # Only the stack's Python is in the image.
        "UV_PYTHON_DOWNLOADS": "never",
        "PDM_CHECK_UPDATE": "false",
    }
)
"""How the tools are told of the virtual environment that they install into."""


@dataclass(frozen=True)
class Installation:
    """What is installed, by which manager, and where that was decided."""

    manager: Manager | None
    requirements: Requirements
    project: Project
    source: Evidence
    locked: bool = False
    notes: tuple[Note, ...] = ()

    @property
    def command(self) -> str:
        """What installs the dependencies."""
        assert self.manager is not None
        return self.manager.locked if self.locked else self.manager.loose


def choose_manager(source: Source) -> Installation:
    """Find the one package manager that an app uses; none for a script without dependencies.

    Raises:
        PlanError: `python/multiple-package-managers`, `python/invalid-lockfile`, `python/no-requirements`.
    """
    project = read_project(source)
    manager, place = _set_manager(source) or _found_manager(source, project)
    if manager is None:
        return Installation(None, Requirements(), project, place)
    locked = manager.lock is None or source.has(manager.lock)
    notes = () if locked else (note("python/no-lock", lock=manager.lock or "", command=manager.fix),)
    if manager is PIP:
        return Installation(PIP, read_requirements(source), project, place, locked=True)
    if manager is PIPENV:
        _check_pipfile_lock(source)
        asked = pipfile_requirements(read_pipfile(source))
    else:
        asked = project.requirements()
    return Installation(manager, asked, project, place, locked, notes)


def _set_manager(source: Source) -> tuple[Manager, Evidence] | None:
    chosen = source.settings.package_manager
    by_name = {manager.name: manager for manager in MANAGERS}
    if chosen is None or chosen not in by_name:
        return None
    manager, place = by_name[chosen], source.settings.origin("build.package-manager")
    if not source.has(manager.manifest):
        raise refuse(
            "detect/manager-mismatch", place, manager=chosen, place=place.place, path=manager.manifest
        )
    return manager, place


def _found_manager(source: Source, project: Project) -> tuple[Manager | None, Evidence]:
    found = [(PIP, REQUIREMENTS)] if source.has(REQUIREMENTS) else []
    found += [(manager, manager.lock) for manager in LOCKED if manager.lock and source.has(manager.lock)]
    if len(found) > 1:
        evidence = [Evidence("package-manager", name) for _, name in found]
        files = Block(listing(f"{name} ({manager.title})" for manager, name in found))
        raise refuse("python/multiple-package-managers", *evidence, files=files)
    if found:
        return found[0][0], Evidence("package-manager", found[0][1])
    if source.has(PIPFILE):
        return PIPENV, Evidence("package-manager", PIPFILE)
    if project.is_there:
        manager = POETRY if project.document.table("tool", "poetry") else PDM if _uses_pdm(project) else UV
        return manager, Evidence("project", PYPROJECT)
    for path in ("setup.py", "setup.cfg", "manage.py"):
        if source.has(path):
            raise refuse("python/no-requirements", Evidence("project", path), path=path)
    return None, Evidence("default")


def _uses_pdm(project: Project) -> bool:
    return bool(project.document.table("tool", "pdm").get("distribution") is not None)


def _check_pipfile_lock(source: Source) -> None:
    """A lock that is no JSON is refused before anything is installed."""
    read_json(source, "Pipfile.lock", "python/invalid-lockfile")
