"""How a Python app without a Procfile is started: only what its files and dependencies say, never a guess."""

import re
from dataclasses import dataclass

from buildpacks.messages import Block, listing, note, refuse
from buildpacks.plan import Evidence, Note
from buildpacks.providers.base import Source
from buildpacks.providers.python.managers import Installation
from buildpacks.providers.python.requirements import Requirements

SCRIPTS = ("main.py", "app.py", "start.py", "bot.py", "hello.py", "server.py")
"""Files in the root that are run as they are, in this order."""

_MODULES = (
    *SCRIPTS[:2],
    "wsgi.py",
    "asgi.py",
    "server.py",
    "application.py",
    "app/main.py",
    "app/__init__.py",
)
"""Files that may define a WSGI or ASGI application, in this order."""

_DATA_SCRIPTS = ("streamlit_app.py", *SCRIPTS)

_SETTINGS = re.compile(r"""DJANGO_SETTINGS_MODULE["']\s*,\s*["']([A-Za-z_][\w.]*)["']""")
_WSGI = re.compile(r"""^WSGI_APPLICATION\s*=\s*["']([A-Za-z_][\w.]*)\.([A-Za-z_]\w*)["']""", re.MULTILINE)
_PLAIN_WSGI = re.compile(r"^(?:def\s+)?(app|application)(?:\s*=(?!=)|\()", re.MULTILINE)
_RUNS = re.compile(r"\.run\(|\brun_simple\(|\bserve\(|\brun_app\(")


@dataclass(frozen=True)
class Start:
    """A web command and where it comes from. Made of identifiers and words of ours only."""

    command: str
    source: Evidence
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True)
class _Framework:
    package: str
    title: str
    constructor: str
    asynchronous: bool = False

    @property
    def server(self) -> str:
        return "uvicorn" if self.asynchronous else "gunicorn"


# The first that is a dependency and whose application is found wins; an app that mounts another framework
# depends on both, and its own object is made by the outer one, which is the asynchronous one as a rule.
_FRAMEWORKS = (
    _Framework("fastapi", "FastAPI", "FastAPI", asynchronous=True),
    _Framework("starlette", "Starlette", "Starlette", asynchronous=True),
    _Framework("litestar", "Litestar", "Litestar", asynchronous=True),
    _Framework("python-fasthtml", "FastHTML", "FastHTML", asynchronous=True),
    _Framework("quart", "Quart", "Quart", asynchronous=True),
    _Framework("flask", "Flask", "Flask"),
)


def infer_start(source: Source, installation: Installation) -> Start:
    """The web command of an app without a Procfile.

    Raises:
        PlanError: `python/no-start`, `python/no-server`.
    """
    requirements = installation.requirements
    start = (
        framework_start(source, requirements)
        or _plain_wsgi(source, requirements)
        or _script(source, installation)
    )
    if start is None:
        raise refuse("python/no-start", Evidence("start"), looked=Block(listing(SCRIPTS)))
    return start


def framework_start(source: Source, requirements: Requirements) -> Start | None:
    """The command for a framework and a server that are both dependencies.

    Raises:
        PlanError: a framework's app is there, and no server to run it.
    """
    if is_django(source, requirements):
        return _django(source, requirements)
    for framework in _FRAMEWORKS:
        start = _framework(source, requirements, framework) if framework.package in requirements else None
        if start is not None:
            return start
    return _data_app(source, requirements)


def _data_app(source: Source, requirements: Requirements) -> Start | None:
    """Apps that bring their own server: Streamlit runs a script, Gradio is one."""
    script = next((name for name in _DATA_SCRIPTS if source.has(name)), None)
    if script is None:
        return None
    if "streamlit" in requirements and "import streamlit" in (source.text(script) or ""):
        command = (
            f"streamlit run {script} --server.address 0.0.0.0 --server.port $PORT --server.headless true"
        )
        return Start(command, Evidence("streamlit", script))
    if "gradio" in requirements and "import gradio" in (source.text(script) or ""):
        command = f"GRADIO_SERVER_NAME=0.0.0.0 GRADIO_SERVER_PORT=$PORT python {script}"
        return Start(command, Evidence("gradio", script))
    return None


def is_django(source: Source, requirements: Requirements) -> bool:
    """Whether this is a Django project: the dependency and its manage.py."""
    return "django" in requirements and source.has("manage.py")


def _django(source: Source, requirements: Requirements) -> Start:
    module, variable, place = _django_application(source)
    notes = (note("python/migrations"),)
    if "gunicorn" in requirements:
        return Start(f"gunicorn --bind 0.0.0.0:$PORT {module}:{variable}", place, notes)
    asgi = module.removesuffix("wsgi") + "asgi"
    if "uvicorn" in requirements and source.exists(f"{asgi.replace('.', '/')}.py"):
        return Start(f"uvicorn {asgi}:application --host 0.0.0.0 --port $PORT", place, notes)
    raise _no_server(requirements, "django", "Django", "gunicorn")


def _django_application(source: Source) -> tuple[str, str, Evidence]:
    """Module and name of the WSGI application: from the settings, else beside them."""
    manage = source.text("manage.py") or ""
    settings = _SETTINGS.search(manage)
    if settings is not None:
        path = settings[1].replace(".", "/")
        for candidate in (f"{path}.py", f"{path}/base.py", f"{path}/__init__.py"):
            match = _WSGI.search(source.text(candidate) or "")
            if match:
                return match[1], match[2], Evidence("WSGI_APPLICATION", candidate)
    found = source.tree.files("*/wsgi.py")
    if len(found) == 1 and re.fullmatch(r"[A-Za-z_]\w*/wsgi\.py", found[0]):
        return found[0].removesuffix(".py").replace("/", "."), "application", Evidence("wsgi", found[0])
    raise refuse(
        "python/no-start", Evidence("django", "manage.py"), looked=Block(listing(["*/wsgi.py", *SCRIPTS]))
    )


def _framework(source: Source, requirements: Requirements, framework: _Framework) -> Start | None:
    pattern = rf"^([A-Za-z_]\w*)(?:\s*:[^=\n]+)?\s*=\s*(?:\w+\.)?{framework.constructor}\("
    for path in _MODULES:
        text = source.text(path)
        match = re.search(pattern, text, re.MULTILINE) if text else None
        if match is None or text is None:
            continue
        if _has_server(requirements, framework):
            place = Evidence(framework.package, path, text.count("\n", 0, match.start()) + 1)
            return Start(_serve(framework, f"{_module(path)}:{match[1]}"), place)
        if path in SCRIPTS and _RUNS.search(text):
            return None
        raise _no_server(requirements, framework.package, framework.title, framework.server)
    return None


def _serve(framework: _Framework, application: str) -> str:
    if framework.asynchronous:
        return f"uvicorn {application} --host 0.0.0.0 --port $PORT"
    return f"gunicorn --bind 0.0.0.0:$PORT {application}"


def _has_server(requirements: Requirements, framework: _Framework) -> bool:
    own = requirements.get(framework.package)
    bundled = framework.package == "fastapi" and own is not None and own.extras & {"standard", "all"}
    return framework.server in requirements or bool(bundled)


def _no_server(requirements: Requirements, package: str, title: str, server: str) -> Exception:
    own = requirements.get(package)
    place = own.source if own else Evidence("requirements")
    return refuse("python/no-server", place, framework=title, server=server, place=place.place)


def _plain_wsgi(source: Source, requirements: Requirements) -> Start | None:
    if "gunicorn" not in requirements:
        return None
    for path in _MODULES:
        text = source.text(path)
        match = _PLAIN_WSGI.search(text) if text else None
        if match is not None and text is not None:
            place = Evidence("wsgi", path, text.count("\n", 0, match.start()) + 1)
            return Start(f"gunicorn --bind 0.0.0.0:$PORT {_module(path)}:{match[1]}", place)
    return None


def _script(source: Source, installation: Installation) -> Start | None:
    """A console script called `start`, or the only one; else a file that is named like one to start."""
    scripts = installation.project.scripts
    chosen = "start" if "start" in scripts else min(scripts) if len(scripts) == 1 else None
    if chosen is not None and installation.project.has_backend:
        document = installation.project.document
        return Start(chosen, document.place(chosen, "script"), _inferred(chosen))
    name = next((name for name in SCRIPTS if source.has(name)), None)
    if name is None:
        return None
    return Start(f"python {name}", Evidence("script", name), _inferred(f"python {name}"))


def _inferred(command: str) -> tuple[Note, ...]:
    return (note("python/inferred-script", command=command),)


def _module(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
