"""Python: what makes a Python app, and the stages that build it. Dependencies go into `/opt/venv`."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from buildpacks.messages import note, refuse
from buildpacks.plan import Candidate, Copy, Evidence, Note, Pick, Plan, PlanError, Process, Run, Step
from buildpacks.procfile import shell_process
from buildpacks.providers.assets import Assets, find_assets
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.providers.python.managers import (
    ENVIRONMENT,
    LOCKED,
    PIP,
    PIPENV,
    TOOL,
    VENV,
    Installation,
    choose_manager,
    pip_install,
)
from buildpacks.providers.python.project import PIPFILE, PYPROJECT
from buildpacks.providers.python.requirements import NAME as REQUIREMENTS
from buildpacks.providers.python.start import SCRIPTS, framework_start, infer_start, is_django
from buildpacks.providers.python.version import pick_python
from buildpacks.system_packages import packages_for

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
_BEFORE, _AFTER = "bin/pre_compile", "bin/post_compile"
_MANIFESTS = (REQUIREMENTS, "Pipfile.lock", PIPFILE, "poetry.lock", "uv.lock", "pdm.lock")
_PROJECT_TABLE = re.compile(r"^\[(?:project|tool\.poetry|build-system)\]", re.MULTILINE)
_PYTHON_COMMAND = re.compile(
    r"(?:^|[\s/;&|])(?:python3?|gunicorn|uvicorn|hypercorn|daphne|waitress-serve|flask|fastapi|streamlit|uwsgi)(?:\s|$)"
)
_STATIC_ROOT = re.compile(r"^STATIC_ROOT\s*=", re.MULTILINE)
_INSTALLER_NAMES = ("PIP_", "UV_", "POETRY_", "PIPENV_", "PDM_")
"""Config whose name starts so is about installing; the step that installs sees the config only then."""

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
    """A virtual environment at `/opt/venv`, made by pip, Pipenv, Poetry, uv or PDM."""

    name = "python"
    looks_for = (
        REQUIREMENTS,
        PYPROJECT,
        PIPFILE,
        "uv.lock",
        "poetry.lock",
        "pdm.lock",
        "manage.py",
        *SCRIPTS,
    )

    def detect(self, source: Source) -> Candidate | None:
        """Any file that only Python projects have; ranked before Node.js when it says how it starts."""
        evidence = _evidence(source)
        if not evidence:
            return None
        return Candidate(self.name, 20 if _explicit(source) else 40, evidence)

    def plan(self, source: Source) -> Plan:
        """Install into a virtual environment from the manifests alone, then add the source."""
        _check_files(source)
        installation = choose_manager(source)
        python = pick_python(source, installation)
        process, more = _web(source, installation)
        collect, static_notes = _collects_static(source, installation)
        assets = find_assets(source)
        system = packages_for("python", _asked(installation))
        return Plan(
            provider=self.name,
            suite=python.stack.suite,
            picks=(python.pick, *_manager_pick(installation), *assets.picks),
            steps=_steps(source, installation, assets, collect=collect),
            processes=(process,) if process else (),
            environment=_ENVIRONMENT,
            notes=(*python.notes, *_install_notes(installation), *more, *static_notes, *assets.notes),
            ignored=assets.ignored,
            build_packages=system.build,
            run_packages=system.run,
        )


def _evidence(source: Source) -> tuple[Evidence, ...]:
    names = [*_MANIFESTS, "setup.py", "setup.cfg", "manage.py"]
    found = [Evidence("file", name) for name in names if source.has(name)]
    if _PROJECT_TABLE.search(source.text(PYPROJECT) or ""):
        found.append(Evidence("project", PYPROJECT))
    found += [Evidence("misspelled", name) for name in sorted(_MISSPELLED & source.root)]
    return tuple(found or [Evidence("script", name) for name in SCRIPTS if source.has(name)][:1])


def _explicit(source: Source) -> bool:
    """Whether something says that Python is what serves: the Procfile's web command, or a framework's app."""
    try:
        if not source.wants_web:
            web = source.procfile.web if source.procfile else None
            return bool(web and _PYTHON_COMMAND.search(web.command))
        return framework_start(source, choose_manager(source).requirements) is not None
    except PlanError:
        return any(source.has(name) for name in _MANIFESTS)


def _check_files(source: Source) -> None:
    """Refuse what can be known to fail, naming the files."""
    for name in (".venv", "venv"):
        if source.tree.read(f"{name}/pyvenv.cfg") is not None:
            raise refuse("python/existing-venv", Evidence("venv", f"{name}/pyvenv.cfg"), path=name)
    if source.tree.files(".heroku/python/bin/*"):
        raise refuse("python/existing-python", Evidence("file", ".heroku/python"))
    misspelled = min(_MISSPELLED & source.root, default=None)
    if misspelled is not None and not any(source.has(name) for name in (*_MANIFESTS, PYPROJECT)):
        raise refuse("python/misspelled-requirements", Evidence("misspelled", misspelled), path=misspelled)


def _web(source: Source, installation: Installation) -> tuple[Process | None, tuple[Note, ...]]:
    if not source.wants_web:
        return None, ()
    start = infer_start(source, installation)
    return shell_process("web", start.command, start.source), start.notes


def _asked(installation: Installation) -> dict[str, Evidence]:
    """The dependencies with the place that asks for each; an extra that brings its own library has its own name."""
    found = {}
    for name, requirement in installation.requirements.packages.items():
        found[name if "binary" not in requirement.extras else f"{name}[binary]"] = requirement.source
    return found


def _manager_pick(installation: Installation) -> tuple[Pick, ...]:
    manager = installation.manager
    return () if manager is None else (Pick("package-manager", None, manager.name, installation.source),)


def _install_notes(installation: Installation) -> list[Note]:
    notes = list(installation.notes)
    packages = installation.requirements.packages
    loose = sorted(name for name, requirement in packages.items() if not requirement.pinned)
    if loose and installation.manager is PIP:
        notes.append(note("python/unpinned", names=", ".join(loose[:5]) + (" …" if loose[5:] else "")))
    if installation.requirements.local:
        place = installation.requirements.local.place
        notes.append(note("python/whole-tree", place=place, path=place.partition(":")[0]))
    return notes


def _collects_static(source: Source, installation: Installation) -> tuple[bool, tuple[Note, ...]]:
    """Whether `collectstatic` has somewhere to collect to, and isn't switched off."""
    if not is_django(source, installation.requirements):
        return False, ()
    settings = source.tree.files("*/settings.py") + source.tree.files("*/settings/*.py")
    if not any(_STATIC_ROOT.search(source.text(path) or "") for path in settings[:20]):
        return False, ()
    if "DISABLE_COLLECTSTATIC" in source.env_names or source.exists(".heroku/collectstatic_disabled"):
        return False, (note("python/collectstatic-off"),)
    return True, ()


def _is_package(source: Source, installation: Installation) -> bool:
    """Whether the project itself must be installed: it has commands, or its modules are not in the root."""
    project = installation.project
    in_src = bool(source.tree.files("src/*/*.py") or source.tree.files("src/*.py"))
    return (
        installation.manager in {*LOCKED} - {PIPENV}
        and project.has_backend
        and (bool(project.scripts) or in_src)
    )


def _steps(source: Source, installation: Installation, assets: Assets, *, collect: bool) -> tuple[Step, ...]:
    steps = [*_tool(installation), _dependencies(source, installation), *assets.steps]
    commands = _build_commands(source, installation, collect=collect)
    image: list[Copy | Run] = []
    if commands:
        steps.append(Step("build", "deps", (assets.source(), *commands), {"PATH": _ENVIRONMENT["PATH"]}))
        # Only a package changes the environment; without one its layer stays the same when code changes.
        stage = "build" if _is_package(source, installation) else "deps"
        image += [Copy((VENV,), VENV, stage=stage), Copy((APP,), APP, stage="build", owned=True)]
    else:
        image += [Copy((VENV,), VENV, stage="deps"), assets.source(owned=True)]
    return (*steps, Step("image", "run", tuple(image)))


def _build_commands(source: Source, installation: Installation, *, collect: bool) -> list[Run]:
    commands = []
    if _is_package(source, installation):
        cache = PIP.cache
        commands.append(Run(pip_install("--no-deps ."), (cache,), secrets=_about_installing(source)))
    if source.settings.build_command:
        commands.append(Run(source.settings.build_command, secrets=True, foreign=True))
    if collect:
        commands.append(Run("python manage.py collectstatic --noinput", secrets=True))
    if source.exists(_AFTER):
        commands.append(Run(_hook(source, _AFTER), secrets=True))
    return commands


def _hook(source: Source, path: str) -> str:
    """A script of Heroku's names, run by what its first line says."""
    return f"./{path}" if source.tree.is_executable(path) else f"bash {path}"


def _tool(installation: Installation) -> tuple[Step, ...]:
    """The package manager in an environment of its own; nothing of the app is in this step, so its layer is shared."""
    manager = installation.manager
    if manager is None or manager.tool is None:
        return ()
    command = f"python3 -m venv --without-pip {TOOL} && {pip_install(f'--no-cache-dir {manager.tool}', TOOL)}"
    return (Step("tool", "build", (Run(command),)),)


def _dependencies(source: Source, installation: Installation) -> Step:
    manager = installation.manager
    make = f"python3 -m venv --without-pip {VENV}"
    if manager is None:
        return Step("deps", "build", (Run(make),))
    install = Run(f"{make} && {installation.command}", (manager.cache,), secrets=_about_installing(source))
    base, environment = ("build", {}) if manager.tool is None else ("tool", ENVIRONMENT)
    if source.exists(_BEFORE):
        hook = Run(_hook(source, _BEFORE), secrets=True)
        return Step("deps", base, (Copy((".",), APP), hook, install), environment)
    return Step("deps", base, (*_manifest_copies(source, installation), install), environment)


def _manifest_copies(source: Source, installation: Installation) -> list[Copy]:
    """The manifests alone, so that a change of code does not install again; all of the tree where they refer to it."""
    manager, requirements = installation.manager, installation.requirements
    assert manager is not None
    if requirements.local:
        return [Copy((".",), APP)]
    if manager is not PIP:
        names = [name for name in (manager.manifest, manager.lock) if name and source.has(name)]
        return [Copy(tuple(names), f"{APP}/")]
    folders: dict[str, list[str]] = {}
    for path in requirements.files:
        folders.setdefault(path.rpartition("/")[0], []).append(path)
    return [Copy(tuple(paths), f"{APP}/{folder}/".replace("//", "/")) for folder, paths in folders.items()]


def _about_installing(source: Source) -> bool:
    return any(name.startswith(_INSTALLER_NAMES) for name in source.env_names)
