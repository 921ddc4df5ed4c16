"""Every example and fixture keeps its plan and Dockerfile, to the byte.

`CYGNI_UPDATE_GOLDEN=1` writes them anew; read the difference before committing it.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from buildpacks.detect import detect
from buildpacks.explain import describe, explain
from buildpacks.plan import BuildSettings, Catalog, Plan
from buildpacks.planner import plan
from buildpacks.ports import Tree
from buildpacks.render import render, render_ignore
from buildpacks.tree import DirectoryTree, MemoryFile, MemoryTree
from buildpacks.walk import LINK

HERE = Path(__file__).parent
EXAMPLES = HERE.parent.parent / "examples"
APPS = HERE.parent / "buildpacks_apps" / "apps"
CATALOG = Catalog("token-0123456789", secrets=True)

PACKAGE = '{"name": "x", "scripts": {"start": "node server.js"}, "engines": {"node": "22.x"}}'
DJANGO_MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")'
DJANGO_SETTINGS = 'WSGI_APPLICATION = "shop.wsgi.application"\nSTATIC_ROOT = "static"\n'


def package(**fields: object) -> str:
    return json.dumps({"name": "x", **fields}, indent=1)


FIXTURES: dict[str, Mapping[str, str | bytes | MemoryFile]] = {
    "python-procfile": {
        "requirements.txt": "gunicorn==1\n",
        "Procfile": "web: gunicorn a:b\nworker: python w.py\nrelease: ./m && x\n",
    },
    "python-flask": {
        "requirements.txt": "Flask==3.0\nGunicorn==22\n",
        "app.py": "from flask import Flask\napi = Flask(__name__)\n",
    },
    "python-fastapi": {
        "requirements.txt": "fastapi[standard]\n",
        "app/main.py": "app: FastAPI = FastAPI(title='x')\n",
    },
    "python-django": {
        "requirements.txt": "Django==5\ngunicorn==22\n",
        "manage.py": DJANGO_MANAGE,
        "shop/settings.py": DJANGO_SETTINGS,
        "shop/wsgi.py": "application = 1",
        "package.json": package(devDependencies={"tailwindcss": "1"}),
    },
    "python-plain-wsgi": {"requirements.txt": "gunicorn==22\nfalcon==3", "app.py": "app = falcon.App()\n"},
    "python-script": {
        "requirements.txt": "",
        "bot.py": "print('x')",
        ".python-version": "# ours\n\n3.11.9 \n",
    },
    "python-no-requirements": {"main.py": "import http.server"},
    "python-includes": {
        "requirements.txt": "-r requirements/base.txt\n--constraint=constraints.txt\n",
        "requirements/base.txt": "x==1",
        "constraints.txt": "x==1",
        "main.py": "",
    },
    "python-editable": {"requirements.txt": "-e ./lib\n", "main.py": "", "lib/setup.py": ""},
    "python-linked": {
        "requirements.txt": MemoryFile(b"requirements/prod.txt", LINK),
        "requirements/prod.txt": "x==1",
        "app.py": "",
    },
    "python-requires": {
        "requirements.txt": "x==1",
        "pyproject.toml": '[project]\nname = "x"\nrequires-python = ">=3.9,<4"\n',
        "runtime.txt": "python-3.11.4",
        "main.py": "",
    },
    "python-and-node": {
        "requirements.txt": "flask\ngunicorn",
        "package.json": PACKAGE,
        "Procfile": "web: gunicorn a:b",
    },
    "node-and-python": {"requirements.txt": "x", "package.json": PACKAGE, "Procfile": "web: node server.js"},
    "node-start": {"package.json": package(scripts={"start": "node --inspect server.js", "prestart": "x"})},
    "node-main": {"package.json": package(main="./src/index.js"), "src/index.js": ""},
    "node-server": {"package.json": "{}", "server.js": ""},
    "node-dependencies": {
        "package.json": package(
            scripts={"start": "node server.js"}, dependencies={"a": "1"}, engines={"node": ">=20"}
        ),
        "package-lock.json": json.dumps({"lockfileVersion": 3, "packages": {"": {}, "node_modules/a": {}}}),
        ".npmrc": "audit=false",
        ".nvmrc": "lts/jod",
        "node_modules/a/package.json": "{}",
    },
    "node-build": {
        "package.json": package(
            scripts={"build": "vite", "start": "vite preview"}, devDependencies={"vite": "^6"}
        )
    },
    "node-lifecycle": {
        "package.json": package(scripts={"postinstall": "patch", "start": "x"}, dependencies={"a": "1"})
    },
    "node-heroku-postbuild": {
        "package.json": package(scripts={"heroku-postbuild": "", "build": "false", "start": "x"})
    },
    "node-worker-only": {
        "package.json": package(dependencies={"a": "file:./a"}),
        "Procfile": "worker: node w.js",
    },
    "node-tooling": {"package.json": package(devDependencies={"prettier": "1"}), "index.html": "x"},
    "static-public": {"public/index.html": "x", "README.md": "x"},
    "static-single-page": {"Staticfile": "root: www\nindex_fallback: true\n", "www/index.html": "x"},
    "dockerfile": {
        "Dockerfile": "# syntax=docker/dockerfile:1\nFROM node:22 AS base\nEXPOSE 3001/udp 3000/tcp\nFROM base\n"
        "RUN --mount=type=cache,target=/root/.npm \\\n  npm ci\nCMD npm start\n",
        "package.json": PACKAGE,
    },
    "dockerfile-procfile": {"Dockerfile": "FROM scratch\n", "Procfile": "web: /app\nworker: /app -w"},
    "procfile-only": {"Procfile": "web: ./server --port $PORT", "server": MemoryFile(b"\x7fELF", 0o100755)},
}


def shown(tree: Tree, env: frozenset[str] = frozenset()) -> str:
    result = plan(tree, BuildSettings(), env)
    assert isinstance(result, Plan), result
    candidates = detect(tree)
    facts = describe(result, candidates)
    parts = [
        json.dumps(facts, indent=1, ensure_ascii=False, sort_keys=True),
        render(result, CATALOG),
        render_ignore(result),
    ]
    return "\n---\n".join(parts)


def check(name: str, text: str) -> None:
    path = HERE / "golden" / f"{name}.txt"
    if os.environ.get("CYGNI_UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert text == path.read_text()


@pytest.mark.parametrize("name", FIXTURES)
def test_a_fixture_keeps_its_plan_and_dockerfile(name: str) -> None:
    check(name, shown(MemoryTree(FIXTURES[name]), frozenset({"PIP_INDEX_URL", "DATABASE_URL"})))


@pytest.mark.parametrize("name", sorted(path.name for path in APPS.iterdir()))
def test_an_app_that_is_built_for_real_keeps_its_plan_and_dockerfile(name: str) -> None:
    check(f"app-{name}", shown(DirectoryTree(APPS / name)))


@pytest.mark.parametrize("name", ["python", "node", "static", "dockerfile"])
def test_an_example_keeps_its_plan_and_dockerfile(name: str) -> None:
    check(f"example-{name}", shown(DirectoryTree(EXAMPLES / name)))


@pytest.mark.parametrize("name", FIXTURES)
def test_every_plan_can_be_explained(name: str) -> None:
    tree = MemoryTree(FIXTURES[name])
    result, candidates = plan(tree), detect(tree)
    data = json.loads(explain(result, candidates, "json"))
    assert {"schema", "provider", "candidates", "picks", "processes", "notes"} <= data.keys()
    assert data["provider"] == candidates[0].provider
    assert explain(result, candidates).startswith(f"detected   {data['provider']}")


def test_a_lockfile_of_an_example_names_no_registry() -> None:
    assert "resolved" not in (EXAMPLES / "node/package-lock.json").read_text()


@pytest.mark.parametrize("name", ["python-flask", "node-dependencies", "python-procfile"])
def test_a_change_of_code_changes_no_step_before_its_own_copy(name: str) -> None:
    """The last COPY alone brings the source, so everything above it stays cached."""
    before = render(_planned(FIXTURES[name]), CATALOG)
    assert render(_planned({**FIXTURES[name], "other.py": "x"}), CATALOG) == before
    sources = [line for line in before.splitlines() if line.startswith("COPY") and '["."' in line]
    assert len(sources) == 1
    assert before.splitlines().index(sources[0]) > before.splitlines().index(
        "FROM cygni-stack/debian-bookworm:run AS image"
    )


def _planned(files: Mapping[str, str | bytes | MemoryFile]) -> Plan:
    result = plan(MemoryTree(files))
    assert isinstance(result, Plan)
    return result


def test_config_is_given_only_to_steps_that_ask_for_it() -> None:
    django = FIXTURES["python-django"]
    lines = render(_planned(django), CATALOG).splitlines()
    seeing = [line for line in lines if "app-env" in line]
    assert len(seeing) == 1
    assert "collectstatic" in seeing[0]
    assert lines[lines.index(seeing[0]) - 1] == "ARG CYGNI_SECRETS_HASH"
    without = render(_planned(django), Catalog("token-0123456789"))
    assert "app-env" not in without
    assert "ARG" not in without
