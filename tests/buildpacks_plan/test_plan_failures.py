"""What bad input gets: the id, the first line, and a body that says what to do."""

import json
from collections.abc import Callable, Mapping

import pytest

from buildpacks.explain import explain
from buildpacks.failure_texts import FAILURES
from buildpacks.note_texts import NOTES
from buildpacks.plan import BuildSettings, Failure
from buildpacks.planner import plan
from buildpacks.ports import TreeLimits
from buildpacks.tree import MemoryFile, MemoryTree
from buildpacks.walk import LINK

Refused = Callable[..., Failure]
Tree = Mapping[str, str | bytes | MemoryFile]

REQUIREMENTS = {"requirements.txt": "x==1", "main.py": ""}
NODE = {"server.js": ""}

TABLE: list[tuple[str, Tree, str]] = [
    ("detect/empty", {}, "There is nothing to build: the tree is empty."),
    ("detect/nothing", {"README.md": "x"}, "No way to build this app was found."),
    ("go/version-unavailable", {"go.mod": "module x\ngo 1.99", "main.go": "package main"}, "Go 1.99 is not available here."),
    ("go/no-main", {"go.mod": "module x\ngo 1.25", "x.go": "package x"}, "No Go program was found."),
    ("go/several-mains", {"go.mod": "module x\ngo 1.25", "cmd/first/main.go": "package main\n", "cmd/second/main.go": "package main\n"}, "Several Go programs were found, and none says that it is the web process."),
    ("go/bin-file", {"go.mod": "module x\ngo 1.25", "main.go": "package main\n", "bin": ""}, "The file bin is in the way: programs are put into a folder of this name."),
    ("ruby/no-start", {"Gemfile": 'gem "sinatra"', "Gemfile.lock": ""}, "It is not known how to start this Ruby app."),
    ("version/unavailable", {"Gemfile": "", ".ruby-version": "2.6.6", "app.rb": ""}, "Ruby 2.6.6 is not available here; the stacks have Ruby 3.1, 3.3."),
    ("version/unavailable", {"composer.json": '{"require": {"php": "^5.6"}}', "index.php": ""}, "PHP ^5.6 is not available here; the stacks have PHP 8.2, 8.4."),
    ("version/invalid", {"Gemfile": "", ".ruby-version": "newest", "app.rb": ""}, 'The version "newest" cannot be understood.'),
    ("document/invalid", {"composer.json": '{"a": }', "index.php": ""}, "composer.json cannot be parsed."),
    ("java/no-wrapper", {"build.gradle": ""}, "This Gradle build has no wrapper."),
    ("rust/no-program", {"Cargo.toml": '[package]\nname = "x"'}, "Cargo.toml has no program to run."),
    ("rust/several-programs", {"Cargo.toml": '[package]\nname = "x"', "src/bin/a.rs": "", "src/bin/b.rs": ""}, "Several Rust programs were found, and none says that it is the web process."),
    ("elixir/no-app", {"mix.exs": ""}, "mix.exs names no app."),
    ("dotnet/no-project", {"shop.sln": ""}, "No .NET project was found."),
    ("dotnet/several-projects", {"a.csproj": "", "b.csproj": ""}, "Several .NET projects could be the app."),
    ("deno/no-start", {"deno.json": "{}"}, "It is not known how to start this Deno app."),
    ("tree/not-utf8", {"Procfile": b"web: \xff"}, "Procfile is not UTF-8 text."),
    ("tree/not-utf8", {".python-version": "3.11".encode("utf-16"), **REQUIREMENTS}, ".python-version is not UTF-8 text."),
    ("tree/limit", {"package.json": b" " * (2 << 20)}, "The source is over a limit."),
    ("tree/reserved-path", {"index.html": "", ".cygni/static-server.py": ""}, ".cygni/static-server.py cannot be part of an app."),
    ("procfile/bad-line", {"Procfile": "web: x\noops"}, "Procfile line 2 is not `type: command`."),
    ("procfile/bad-line", {"Procfile": "web: x\noops", **REQUIREMENTS}, "Procfile line 2 is not `type: command`."),
    ("python/multiple-package-managers", {"poetry.lock": "", **REQUIREMENTS}, "More than one Python package manager's file was found."),
    ("python/multiple-package-managers", {"Pipfile.lock": "{}", "Pipfile": "", "uv.lock": "", "poetry.lock": "", "setup.py": "", **REQUIREMENTS}, "More than one Python package manager's file was found."),
    ("python/no-requirements", {"setup.py": "", "main.py": ""}, "No file says what this Python project depends on."),
    ("python/no-requirements", {"manage.py": ""}, "No file says what this Python project depends on."),
    ("python/invalid-pipfile", {"Pipfile": "[packages\n"}, "Pipfile cannot be parsed."),
    ("python/invalid-lockfile", {"Pipfile": "", "Pipfile.lock": "<<<<"}, "Pipfile.lock cannot be parsed."),
    ("python/runtime-txt-with-uv", {"uv.lock": "", "pyproject.toml": "[project]", "runtime.txt": "python-3.11.4", "main.py": ""}, "runtime.txt is not read in a project of uv."),
    ("python/existing-python", {".heroku/python/bin/python": "", **REQUIREMENTS}, "A copy of Python is part of the source: .heroku/python."),
    ("python/version-conflict", {".python-version": "3.13", "uv.lock": "", "pyproject.toml": '[project]\nrequires-python = "==3.11.*"', "main.py": ""}, ".python-version:1 and pyproject.toml:2 ask for different Python versions."),
    ("python/misspelled-requirements", {"requirement.txt": "", "app.py": ""}, "The file of dependencies is misspelled: requirement.txt."),
    ("python/misspelled-version-file", {".python-version ": "3.11", **REQUIREMENTS}, "The Python version's file is misspelled: .python-version ."),
    ("python/invalid-version", {".python-version": "3.12.0invalid", **REQUIREMENTS}, ".python-version does not hold a Python version."),
    ("python/invalid-version", {"runtime.txt": "3.11", **REQUIREMENTS}, "runtime.txt does not hold a Python version."),
    ("python/no-version", {".python-version": "# none\n", **REQUIREMENTS}, "No Python version was found in .python-version."),
    ("python/multiple-versions", {".python-version": "3.11\n3.12\n", **REQUIREMENTS}, "Several Python versions were found in .python-version."),
    ("python/version-unavailable", {".python-version": "3.12", **REQUIREMENTS}, "Python 3.12 is not available here; the stacks have Python 3.11, 3.13."),
    ("python/version-eol", {"runtime.txt": "python-2.7.18", **REQUIREMENTS}, "Python 2.7.18 has reached its end of life."),
    ("python/version-eol", {".python-version": "3.9", **REQUIREMENTS}, "Python 3.9 has reached its end of life."),
    ("python/version-unknown", {".python-version": "3.999", **REQUIREMENTS}, "Python 3.999 is not a version that is known."),
    ("python/requires-python", {"pyproject.toml": '[project]\nrequires-python = "==3.12.*"', **REQUIREMENTS}, 'requires-python "==3.12.*" allows none of the Python versions here: 3.11, 3.13.'),
    ("python/invalid-requires-python", {"pyproject.toml": '[project]\nrequires-python = "3.x"', **REQUIREMENTS}, 'requires-python "3.x" is not a version specifier.'),
    ("python/invalid-pyproject", {"pyproject.toml": "[project\n", **REQUIREMENTS}, "pyproject.toml cannot be parsed."),
    ("python/invalid-pyproject", {"pyproject.toml": "a = " + "[" * 100_000, **REQUIREMENTS}, "pyproject.toml cannot be parsed."),
    ("python/no-start", {"requirements.txt": "x", "custom.py": ""}, "It is not known how to start this Python app."),
    ("python/no-server", {"requirements.txt": "Flask", "app.py": "app = Flask(__name__)"}, "Flask needs a server that is not among the dependencies."),
    ("python/no-server", {"requirements.txt": "fastapi", "main.py": "app = FastAPI()"}, "FastAPI needs a server that is not among the dependencies."),
    ("python/no-server", {"requirements.txt": "Django", "manage.py": "", "x/wsgi.py": ""}, "Django needs a server that is not among the dependencies."),
    ("python/existing-venv", {".venv/pyvenv.cfg": "", **REQUIREMENTS}, "A virtual environment is part of the source: .venv."),
    ("node/invalid-package-json", {"package.json": "{"}, "package.json cannot be parsed."),
    ("node/invalid-package-json", {"package.json": "[]"}, "package.json cannot be parsed."),
    ("node/invalid-package-json", {"package.json": "[" * 100_000}, "package.json cannot be parsed."),
    ("node/invalid-package-json", {"package.json": '{"a": ' + "1" * 5000 + "}"}, "package.json cannot be parsed."),
    ("node/multiple-lockfiles", {"package.json": "{}", "package-lock.json": "{}", "yarn.lock": "", **NODE}, "More than one lockfile was found."),
    ("node/multiple-lockfiles", {"package.json": "{}", "npm-shrinkwrap.json": "{}", "yarn.lock": "", **NODE}, "More than one lockfile was found."),
    ("node/multiple-package-managers", {"package.json": '{"engines": {"yarn": "1", "pnpm": "9"}}', **NODE}, "package.json names more than one package manager."),
    ("node/unknown-package-manager", {"package.json": '{"packageManager": "cnpm@4.1.1"}', **NODE}, 'The package manager "cnpm" is not known.'),
    ("node/invalid-lockfile", {"package.json": "{}", "package-lock.json": "<<<<", **NODE}, "package-lock.json cannot be parsed."),
    ("node/lockfile-out-of-sync", {"package.json": '{"dependencies": {"a": "1"}}', "package-lock.json": "{}", **NODE}, "package.json and package-lock.json do not agree."),
    ("node/invalid-version", {"package.json": '{"engines": {"node": "0.11; rm"}}', **NODE}, 'The Node.js version "0.11; rm" cannot be understood.'),
    ("node/invalid-version", {"package.json": "{}", ".nvmrc": "lts/nothing", **NODE}, 'The Node.js version "lts/nothing" cannot be understood.'),
    ("node/version-unavailable", {"package.json": '{"engines": {"node": "0.11.333"}}', **NODE}, "No Node.js version here is in the range 0.11.333."),
    ("node/version-conflict", {"package.json": '{"engines": {"node": "22.x"}}', ".nvmrc": "20", **NODE}, ".nvmrc:1 and package.json:1 ask for different Node.js versions."),
    ("node/no-start", {"package.json": "{}"}, "It is not known how to start this Node.js app."),
    ("node/no-start", {"package.json": '{"main": "missing.js"}'}, "It is not known how to start this Node.js app."),
    ("dockerfile/empty", {"Dockerfile": "# nothing\n"}, "Dockerfile has no FROM."),
    ("dockerfile/foreign-image", {"Dockerfile": "FROM cygni/shop:v1\n"}, "Dockerfile line 1 names an image of this server: cygni/shop:v1."),
]  # fmt: skip


@pytest.mark.parametrize(
    ("identifier", "files", "title"), TABLE, ids=[f"{number}-{row[0]}" for number, row in enumerate(TABLE)]
)
def test_bad_input_is_refused_before_anything_is_built(
    identifier: str, files: Tree, title: str, refused: Refused
) -> None:
    failure = refused(files)
    assert (failure.id, failure.title) == (identifier, title)
    assert failure.cls == "user"
    assert not failure.retry
    data = json.loads(explain(failure, (), "json"))["failure"]
    assert {"id", "class", "title", "body"} <= data.keys()
    assert identifier in explain(failure, ())


@pytest.mark.parametrize("identifier", FAILURES)
def test_every_failure_says_what_to_do(identifier: str) -> None:
    body = FAILURES[identifier].body
    assert any(word in body.lower() for word in ("push again", "provider be detected", "choose one of"))
    assert "{{" not in body.replace('{{"start": "node app.js"}}', "")


def test_nothing_detected_lists_what_was_looked_for_and_seen(refused: Refused) -> None:
    files = {f"file{number:02}.md": "x" for number in range(30)} | {"docs/a.md": "x"}
    failure = refused(files)
    assert "requirements.txt" in failure.body
    assert "package.json" in failure.body
    assert "docs/" in failure.body
    assert "… and 11 more" in failure.body
    assert "file25.md" not in failure.body


def test_an_app_in_a_folder_is_pointed_at(refused: Refused) -> None:
    assert "backend/package.json" in refused({"backend/package.json": "{}", "README": ""}).body


def test_names_from_the_tree_cannot_reach_the_terminal_as_control_codes(refused: Refused) -> None:
    failure = refused({"evil\x1b[2J\nname": "x", "b\udcff": "x"})
    assert "\x1b" not in failure.body
    assert "\\x1b[2J\\nname" in failure.body
    failure.body.encode()


def test_a_chosen_provider_must_exist_and_fit(refused: Refused) -> None:
    assert refused({"index.html": ""}, BuildSettings(provider="cobol")).id == "detect/unknown-provider"
    assert refused({"index.html": ""}, BuildSettings(provider="node")).id == "detect/provider-mismatch"


def test_a_chosen_provider_beats_a_dockerfile(planned: Callable[..., object]) -> None:
    files = {"Dockerfile": "FROM x", "index.html": "x"}
    assert getattr(planned(files, BuildSettings(provider="static")), "provider", None) == "static"


def test_a_tree_over_a_limit_is_a_failure_and_not_an_exception() -> None:
    tree = MemoryTree({f"f{number}": "" for number in range(50)}, TreeLimits(files=10))
    result = plan(tree)
    assert isinstance(result, Failure)
    assert result.id == "tree/limit"


def test_a_link_out_of_the_tree_is_no_manifest(refused: Refused) -> None:
    assert refused({"package.json": MemoryFile(b"/etc/passwd", LINK)}).id == "detect/nothing"


def test_notes_have_levels_and_texts() -> None:
    assert all(level in {"info", "warning"} and text for level, text in NOTES.values())
