"""Builds that fail for a known reason, with the real tools: what they print is recognised, and named as it should be."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildpacks.classify import classify
from buildpacks.plan import Plan
from buildpacks.planner import plan
from buildpacks.ports import BuildFailedError
from buildpacks.tree import DirectoryTree, MemoryTree

if TYPE_CHECKING:
    from tests.buildpacks_apps.conftest import Workshop

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]

APPS = Path(__file__).parent / "apps"
Files = Mapping[str, str]


def changed(app: str, **files: str) -> dict[str, str]:
    """The files of an app that is built for real, some of them replaced."""
    tree = DirectoryTree(APPS / app)
    found = {entry.path: b"".join(tree.chunks(entry.path)).decode() for entry in tree.entries()}
    return found | {name.replace("_", "."): text for name, text in files.items()}


def another_dependency(app: str) -> dict[str, str]:
    """The app with a dependency that its lock does not know."""
    files = changed(app)
    data = json.loads(files["package.json"])
    data["dependencies"]["isarray"] = "2.0.5"
    return files | {"package.json": json.dumps(data)}


def command(text: str) -> dict[str, str]:
    """A static site whose build command is this line."""
    return {"index.html": "", "cygni.toml": f"[build]\ncommand = {json.dumps(text)}\n"}


def node(**dependencies: str) -> dict[str, str]:
    return {"package.json": json.dumps({"dependencies": dependencies}), "index.js": ""}


TABLE: dict[str, tuple[Files, str, str]] = {
    "pip, no such package": ({"requirements.txt": "no-such-package-of-anybody==1", "app.py": ""}, "python/package-not-found", "no-such-package-of-anybody"),
    "pip, an odd line": ({"requirements.txt": "what is this", "app.py": ""}, "python/invalid-requirement", ""),
    "pip, versions that contradict": ({"requirements.txt": "werkzeug==2.0.0\nflask==3.1.2", "app.py": ""}, "python/dependency-conflict", ""),
    "pipenv, an old lock": (changed("python-pipenv", Pipfile='[packages]\nflask = ">=3"\ngunicorn = "*"\nisodate = "*"\n'), "python/build-lockfile-out-of-sync", ""),
    "pdm, an old lock": (changed("python-pdm", pyproject_toml='[project]\nname = "x"\nversion = "1"\nrequires-python = ">=3.11"\ndependencies = ["flask", "gunicorn", "isodate"]\n'), "python/build-lockfile-out-of-sync", ""),
    "npm, no such package": (node(**{"no-such-package-of-anybody": "1.0.0"}), "node/package-not-found", "no-such-package-of-anybody"),
    "npm, no such version": (node(ms="99.0.0"), "node/no-matching-version", "ms@99.0.0"),
    "npm, no such manager": ({**node(ms="2.1.3"), "package.json": '{"packageManager": "pnpm@10.999.0", "dependencies": {"ms": "2.1.3"}}'}, "node/manager-unavailable", "pnpm@10.999.0"),
    "npm, no such npm": ({"package.json": '{"engines": {"npm": "1.999.0"}}', "index.js": ""}, "node/manager-unavailable", "npm@1.999.0"),
    "yarn 1, an old lock": (another_dependency("node-yarn1"), "node/build-lockfile-out-of-sync", ""),
    "yarn 4, an old lock": (another_dependency("node-yarn4"), "node/build-lockfile-out-of-sync", ""),
    "pnpm, an old lock": (another_dependency("node-pnpm"), "node/build-lockfile-out-of-sync", ""),
    "bun, an old lock": (another_dependency("node-bun"), "node/build-lockfile-out-of-sync", ""),
    "a build script that fails": ({"package.json": '{"scripts": {"build": "exit 3", "start": "node x.js"}}'}, "node/build-script", "3"),
    "a module that is missing": ({"package.json": '{"scripts": {"build": "node -e \\"require(\'left\')\\"", "start": "node x.js"}}'}, "node/module-missing", "left"),
    "apt, no such package": ({"index.html": "", "cygni.toml": "[packages]\nrun = ['no-such-package']\n"}, "build/package-unknown", "no-such-package"),
    "a header": (command("echo '#include <cairo.h>' | gcc -c -x c -"), "build/missing-header", "libcairo2-dev"),
    "a library": (command("echo 'int main(void){return 0;}' | gcc -x c - -lldap"), "build/missing-library", "ldap"),
    "a program": (command("ffmpeg -version"), "build/command-not-found", "Debian package ffmpeg"),
    "go, no such module": ({"go.mod": "module x\ngo 1.25\n", "main.go": 'package main\n\nimport _ "example.com/none"\n\nfunc main() {}\n'}, "go/module-missing", "example.com/none"),
    "ruby, a gem that Debian's packages lack": (changed("ruby-sinatra", Gemfile='gem "no-such-gem"\n'), "ruby/gem-not-found", "no-such-gem"),
    "rust, an error": (changed("rust-plain", **{"src/main.rs": "fn main() { oops }"}), "rust/build-failed", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
async def test_the_cause_of_a_failed_build_is_named(name: str, workshop: "Workshop") -> None:
    files, identifier, named = TABLE[name]
    planned = plan(MemoryTree(files))
    assert isinstance(planned, Plan), planned
    with pytest.raises(BuildFailedError) as caught:
        await workshop.make(planned, MemoryTree(files))
    error = caught.value
    failure = classify(error.step, error.exit_code, error.tail)
    assert failure is not None, error.tail
    assert failure.id == identifier, error.tail
    assert named in failure.title + failure.body
