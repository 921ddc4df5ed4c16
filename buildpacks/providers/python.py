"""Python with pip and requirements.txt, on the stack's Python."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from buildpacks.messages import Block, listing, note, refuse
from buildpacks.plan import (
    CacheMount,
    Candidate,
    Copy,
    Evidence,
    Note,
    Pick,
    Plan,
    PlanError,
    Process,
    Run,
    Step,
)
from buildpacks.procfile import shell_process
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.providers.python_start import SCRIPTS, framework_start, infer_start, is_django
from buildpacks.providers.python_version import pick_python
from buildpacks.providers.requirements import NAME as REQUIREMENTS
from buildpacks.providers.requirements import Requirements, read_requirements

VENV = "/opt/venv"

# The installers of other package managers cannot run yet; each file says which one wrote it and how to leave it.
_MANAGERS = (
    ("Pipfile.lock", "Pipenv", "pipenv requirements > requirements.txt"),
    ("Pipfile", "Pipenv", "pipenv requirements > requirements.txt"),
    ("poetry.lock", "Poetry", "poetry export -o requirements.txt"),
    ("uv.lock", "uv", "uv export --no-dev -o requirements.txt"),
    ("pdm.lock", "PDM", "pdm export --prod -o requirements.txt"),
)
_LOCKS = ("Pipfile.lock", "poetry.lock", "uv.lock", "pdm.lock")
_MISSPELLED = frozenset(
    {
        "requirement.txt",
        "requirements.text",
        "requirements.txt.txt",
        "requirments.txt",
        "requeriments.txt",
        "requirements",
    }
)
_PROJECT_TABLE = re.compile(r"^\[(?:project|tool\.poetry|build-system)\]", re.MULTILINE)
_PYTHON_COMMAND = re.compile(
    r"(?:^|[\s/;&|])(?:python3?|gunicorn|uvicorn|hypercorn|daphne|waitress-serve|flask|fastapi|streamlit|uwsgi)(?:\s|$)"
)
_STATIC_ROOT = re.compile(r"^STATIC_ROOT\s*=", re.MULTILINE)
_PIP = (
    f"python3 -m pip --python {VENV}/bin/python install"
    f" --no-input --disable-pip-version-check --progress-bar off -r {REQUIREMENTS}"
)
_MAKE_VENV = f"python3 -m venv --without-pip {VENV}"
_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "PATH": f"{VENV}/bin:{BASE_PATH}",
        "PYTHONPATH": APP,
        "PYTHONUNBUFFERED": "1",
        # Only the router reaches an app, and it sets these headers itself.
        "FORWARDED_ALLOW_IPS": "*",
    }
)


class Python:
    """requirements.txt, pip, a virtual environment at `/opt/venv`."""

    name = "python"
    looks_for = (REQUIREMENTS, "pyproject.toml", "Pipfile", "manage.py", *SCRIPTS)

    def detect(self, source: Source) -> Candidate | None:
        """Any file that only Python projects have; ranked before Node.js when it says how it starts."""
        evidence = _evidence(source)
        if not evidence:
            return None
        return Candidate(self.name, 20 if _explicit(source) else 40, evidence)

    def plan(self, source: Source) -> Plan:
        """Install into a virtual environment from the manifests alone, then add the source."""
        _check_files(source)
        python, notes = pick_python(source)
        requirements = read_requirements(source) if source.has(REQUIREMENTS) else Requirements()
        process, more = _web(source, requirements)
        collect, static_notes = _collects_static(source, requirements)
        return Plan(
            provider=self.name,
            picks=(python, Pick("package-manager", None, "pip", Evidence("requirements", REQUIREMENTS))),
            steps=_steps(source, requirements, collect=collect),
            processes=(process,) if process else (),
            environment=_ENVIRONMENT,
            notes=(*notes, *_requirement_notes(requirements), *more, *static_notes),
        )


def _evidence(source: Source) -> tuple[Evidence, ...]:
    names = [REQUIREMENTS, *(name for name, _, _ in _MANAGERS), "setup.py", "manage.py"]
    found = [Evidence("file", name) for name in names if source.has(name)]
    if _PROJECT_TABLE.search(source.text("pyproject.toml") or ""):
        found.append(Evidence("project", "pyproject.toml"))
    found += [Evidence("misspelled", name) for name in sorted(_MISSPELLED & source.root)]
    return tuple(found or [Evidence("script", name) for name in SCRIPTS if source.has(name)][:1])


def _explicit(source: Source) -> bool:
    """Whether something says that Python is what serves: the Procfile's web command, or a framework's app."""
    try:
        if not source.wants_web:
            web = source.procfile.web if source.procfile else None
            return bool(web and _PYTHON_COMMAND.search(web.command))
        requirements = read_requirements(source) if source.has(REQUIREMENTS) else Requirements()
        return framework_start(source, requirements) is not None
    except PlanError:
        return REQUIREMENTS in source.root


def _check_files(source: Source) -> None:
    """Refuse what can be known to fail, naming the files."""
    for name in (".venv", "venv"):
        if source.tree.read(f"{name}/pyvenv.cfg") is not None:
            raise refuse("python/existing-venv", Evidence("venv", f"{name}/pyvenv.cfg"), path=name)
    locks = [name for name in _LOCKS if source.has(name)]
    managers = [*([REQUIREMENTS] if source.has(REQUIREMENTS) else []), *locks]
    if len(managers) > 1:
        evidence = [Evidence("package-manager", name) for name in managers]
        raise refuse("python/multiple-package-managers", *evidence, files=Block(listing(managers)))
    if not source.has(REQUIREMENTS):
        _check_without_requirements(source)


def _check_without_requirements(source: Source) -> None:
    misspelled = min(_MISSPELLED & source.root, default=None)
    if misspelled is not None:
        raise refuse("python/misspelled-requirements", Evidence("misspelled", misspelled), path=misspelled)
    for path, manager, command in _MANAGERS:
        if source.has(path):
            evidence = Evidence("package-manager", path)
            raise refuse(
                "python/unsupported-package-manager", evidence, manager=manager, path=path, command=command
            )
    for path in ("pyproject.toml", "setup.py", "manage.py"):
        if source.has(path):
            raise refuse("python/no-requirements", Evidence("project", path), path=path)


def _web(source: Source, requirements: Requirements) -> tuple[Process | None, tuple[Note, ...]]:
    if not source.wants_web:
        return None, ()
    start = infer_start(source, requirements)
    return shell_process("web", start.command, start.source), start.notes


def _requirement_notes(requirements: Requirements) -> list[Note]:
    loose = sorted(name for name, requirement in requirements.packages.items() if not requirement.pinned)
    notes = (
        [note("python/unpinned", names=", ".join(loose[:5]) + (" …" if loose[5:] else ""))] if loose else []
    )
    if requirements.local:
        notes.append(note("python/whole-tree", place=requirements.local.place))
    return notes


def _collects_static(source: Source, requirements: Requirements) -> tuple[bool, tuple[Note, ...]]:
    """Whether `collectstatic` has somewhere to collect to, and isn't switched off."""
    if not is_django(source, requirements):
        return False, ()
    settings = source.tree.files("*/settings.py") + source.tree.files("*/settings/*.py")
    if not any(_STATIC_ROOT.search(source.text(path) or "") for path in settings[:20]):
        return False, ()
    if "DISABLE_COLLECTSTATIC" in source.env_names:
        return False, (note("python/collectstatic-off"),)
    return True, ()


def _steps(source: Source, requirements: Requirements, *, collect: bool) -> tuple[Step, ...]:
    steps = [_dependencies(source, requirements)]
    image: list[Copy | Run] = [Copy((VENV,), VENV, stage="deps")]
    if collect:
        collecting = Run("python manage.py collectstatic --noinput", secrets=True)
        steps.append(Step("build", "deps", (Copy((".",), APP), collecting), {"PATH": _ENVIRONMENT["PATH"]}))
        image.append(Copy((APP,), APP, stage="build", owned=True))
    else:
        image.append(Copy((".",), APP, owned=True))
    return (*steps, Step("image", "run", tuple(image)))


def _dependencies(source: Source, requirements: Requirements) -> Step:
    if not requirements.files:
        return Step("deps", "build", (Run(_MAKE_VENV),))
    install = Run(
        f"{_MAKE_VENV} && {_PIP}",
        (CacheMount("pip", "/root/.cache/pip"),),
        secrets=any(name.startswith("PIP_") for name in source.env_names),
    )
    return Step("deps", "build", (*_manifests(requirements), install))


def _manifests(requirements: Requirements) -> tuple[Copy, ...]:
    """The files that pip reads, and no more, so that a change of the source does not install again."""
    if requirements.local:
        return (Copy((".",), APP),)
    folders: dict[str, list[str]] = {}
    for path in requirements.files:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    return tuple(
        Copy(tuple(paths), f"{APP}/{folder}/".replace("//", "/")) for folder, paths in folders.items()
    )
