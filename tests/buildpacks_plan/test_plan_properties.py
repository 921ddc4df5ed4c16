"""What holds for every tree: the same in, the same out; and nothing of a repository becomes an instruction."""

import json
import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpacks.detect import detect
from buildpacks.explain import explain
from buildpacks.plan import Catalog, Copy, Failure, Plan, Run, Step
from buildpacks.planner import plan
from buildpacks.render import RenderError, render
from buildpacks.tree import MemoryTree

CATALOG = Catalog("token-0123456789", secrets=True)
HOSTILE = st.text(alphabet="a/.-_ \n\r\t\\\"'`$(){};&|<>#,=*?[]@:\x1b\u2028é0", min_size=1, max_size=40)
STARTS = ("FROM ", "WORKDIR ", "ENV ", "COPY ", "ARG ", "RUN ", "USER ", "ENTRYPOINT ", "CMD ")

NAMES = st.sampled_from(
    ["requirements.txt", "package.json", "package-lock.json", "Procfile", "app.py", "manage.py", "index.html", "Staticfile",
     "cygni.toml", "app.json", "Aptfile", "project.toml", "apps/web/package.json", "apps/web/app.py", "go.mod", "main.go", "cmd/a/main.go", "Gemfile", "Gemfile.lock", "config.ru", "composer.json", "index.php", "pom.xml", "Cargo.toml", "src/main.rs",
     "mix.exs", "app.csproj", "global.json", "deno.json", "main.ts", "yarn.lock", "pnpm-lock.yaml", "pnpm-workspace.yaml", ".yarnrc.yml", "bun.lock",
     "Pipfile", "Pipfile.lock", "uv.lock", "poetry.lock", "pdm.lock", ".tool-versions", "go.work", ".ruby-version", "rust-toolchain",
     ".nvmrc", ".python-version", "runtime.txt", "pyproject.toml", "server.js", "public/index.html", "Dockerfile", ".npmrc"]
)  # fmt: skip
CONTENTS = st.one_of(
    HOSTILE,
    st.just("Django==5\ngunicorn\n-r other.txt"),
    st.just("app = Flask(__name__)"),
    st.just("web: gunicorn a:b\nworker: x"),
    HOSTILE.map(lambda text: json.dumps({"main": text, "scripts": {"start": text, "build": text}})),
    HOSTILE.map(lambda text: json.dumps({"engines": {"node": text}, "dependencies": {text: text}})),
    HOSTILE.map(lambda text: f"web: {text}"),
    HOSTILE.map(lambda text: f"-r {text}\n-e {text}\n{text}"),
    HOSTILE.map(lambda text: f"root: {text}"),
    HOSTILE.map(lambda text: f"module {text}\ngo 1.25\npackage main\n// +heroku install {text}"),
    HOSTILE.map(lambda text: f"gem '{text}'\nruby '{text}'\napp: :{text}"),
    HOSTILE.map(
        lambda text: (
            f"[package]\nname = {json.dumps(text)}\n[project]\nname = 'x'\n[project.scripts]\n{json.dumps(text)} = 'a:b'"
        )
    ),
    HOSTILE.map(lambda text: f"nodeLinker: pnp\nyarnPath: {text}\npackages:\n  - '{text}'\nuse {text}"),
    HOSTILE.map(
        lambda text: json.dumps(
            {"packageManager": f"pnpm@{text}", "workspaces": [text], "main": text, "require": {"php": text}}
        )
    ),
    HOSTILE.map(
        lambda text: json.dumps(
            {
                "packageManager": f"yarn@{text}",
                "scripts": {"build": text},
                "devDependencies": {"vite": text, "react": "1"},
            }
        )
    ),
    st.just("package main\n"),
    HOSTILE.map(lambda text: f"[build]\ncommand = {json.dumps(text)}\nroot = 'apps/web'"),
    HOSTILE.map(lambda text: f"[build]\nroot = {json.dumps(text)}\ncontext = '.'\nprovider = 'node'"),
    HOSTILE.map(
        lambda text: f"[packages]\nrun = [{json.dumps(text)}]\n[processes]\nweb = {json.dumps(text)}"
    ),
    HOSTILE.map(
        lambda text: (
            f"[versions]\npython = {json.dumps(text)}\nnode = {json.dumps(text)}\ngo = {json.dumps(text)}"
        )
    ),
    st.just("[build]\nroot = 'apps/web'\ncontext = '.'"),
    st.just("ffmpeg\nlibpq-dev"),
)
TREES = st.dictionaries(NAMES, CONTENTS, max_size=6)


@given(TREES)
def test_planning_never_raises_and_is_deterministic(files: dict[str, str]) -> None:
    first, second = plan(MemoryTree(files)), plan(MemoryTree(files))
    assert first == second
    candidates = () if isinstance(first, Failure) else detect(MemoryTree(files))
    assert explain(first, candidates, "json") == explain(second, candidates, "json")
    if isinstance(first, Plan):
        assert render(first, CATALOG) == render(first, CATALOG)


@given(TREES, st.randoms())
def test_the_order_of_files_changes_nothing(files: dict[str, str], shuffler: random.Random) -> None:
    shuffled = list(files.items())
    shuffler.shuffle(shuffled)
    assert plan(MemoryTree(files)) == plan(MemoryTree(dict(shuffled)))


@given(TREES)
def test_nothing_of_a_repository_becomes_an_instruction(files: dict[str, str]) -> None:
    result = plan(MemoryTree(files))
    if not isinstance(result, Plan) or result.provider == "dockerfile":
        return
    lines = [line for line in re.split(r"[\n\r]", render(result, CATALOG)) if line]
    assert all(line.startswith(STARTS) and line.isascii() and line.isprintable() for line in lines)
    assert not any(line.rstrip().endswith("\\") for line in lines)
    stages = len(result.steps) + bool(result.build_packages) + bool(result.run_packages)
    assert sum(line.startswith("FROM ") for line in lines) == stages
    for line in lines:
        if line.startswith(("CMD ", "ENTRYPOINT ")):
            assert isinstance(json.loads(line.partition(" ")[2]), list)


BASES = st.sampled_from(
    [
        {"app.py": ""},
        {"package.json": '{"scripts": {"build": "x"}}', "index.js": "", "apps/web/package.json": "{}", "apps/web/index.js": ""},
        {"index.html": ""},
        {"go.mod": "module x\ngo 1.25", "main.go": "package main\n"},
        {"Gemfile": "", "app.rb": ""},
        {"apps/web/app.py": ""},
        {"Dockerfile": "FROM scratch"},
    ]
)  # fmt: skip
SETTINGS = st.one_of(
    HOSTILE.map(lambda text: f"[build]\ncommand = {json.dumps(text)}"),
    HOSTILE.map(lambda text: f"[build]\ncommand = {json.dumps(text)}\nroot = 'apps/web'\ncontext = '.'"),
    HOSTILE.map(lambda text: f"[build]\nroot = {json.dumps(text)}\ndockerfile = {json.dumps(text)}"),
    HOSTILE.map(lambda text: f"[build]\ntarget = {json.dumps(text)}\n[build.args]\nA = {json.dumps(text)}"),
    HOSTILE.map(lambda text: f"[packages]\nrun = [{json.dumps(text)}]"),
    HOSTILE.map(lambda text: f"[processes]\nweb = {json.dumps(text)}\n{json.dumps(text)} = 'x'"),
    HOSTILE.map(lambda text: "[versions]\n" + "\n".join(f"{name} = {json.dumps(text)}" for name in ("python", "node", "go", "ruby"))),
    HOSTILE,
    st.just("[build]\nroot = 'apps/web'\ncontext = '.'"),
)  # fmt: skip


@given(BASES, SETTINGS)
def test_settings_of_a_repository_give_a_plan_or_a_failure_and_no_instruction(
    files: dict[str, str], settings: str
) -> None:
    result = plan(MemoryTree({**files, "cygni.toml": settings}))
    if not isinstance(result, Plan) or result.provider == "dockerfile":
        return
    lines = [line for line in re.split(r"[\n\r]", render(result, CATALOG)) if line]
    assert all(line.startswith(STARTS) and line.isascii() and line.isprintable() for line in lines)
    # A command of the app's own is one JSON string: no flag, mount or here-document of it can be read by the engine.
    own = [line for line in lines if line.startswith("RUN ") and '["/bin/sh"' in line]
    for line in own:
        assert json.loads(line[line.index("[") :])[:2] == ["/bin/sh", "-c"]


@given(HOSTILE)
def test_a_hostile_process_stays_one_json_string(text: str) -> None:
    result = plan(MemoryTree({"Procfile": f"web: x {text}"}))
    if isinstance(result, Failure):
        assert result.id == "procfile/bad-line"
        return
    assert result.web is not None
    last = render(result, CATALOG).rstrip("\n").split("\n")[-1]
    assert json.loads(last.removeprefix("CMD ")) == list(result.web.argv)


@pytest.mark.parametrize(
    "actions",
    [
        (Copy(("a\nRUN evil",), "/app"),),
        (Copy(("$HOME",), "/app"),),
        (Copy(("*",), "/app"),),
        (Copy((".",), "/app", stage="x y"),),
        (Run("true\nRUN evil"),),
        (Run("true\rRUN evil"),),
    ],
)
def test_a_careless_provider_is_stopped_by_the_renderer(actions: tuple[Copy | Run, ...]) -> None:
    with pytest.raises(RenderError):
        render(Plan("x", (Step("image", "run", actions),), ()), CATALOG)


@pytest.mark.parametrize("value", ["a\nb", 'a"b', "$HOME", "a\\b"])
def test_values_of_variables_are_plain(value: str) -> None:
    with pytest.raises(RenderError):
        render(Plan("x", (Step("image", "run", ()),), (), environment={"A": value}), CATALOG)


@pytest.mark.parametrize("prefix", ["", "short", "a b c d e f", "token,target=/x"])
def test_no_image_is_built_without_a_token_for_its_caches(prefix: str) -> None:
    for files in ({"index.html": ""}, {"Dockerfile": "FROM scratch"}):
        result = plan(MemoryTree(files))
        assert isinstance(result, Plan)
        with pytest.raises(RenderError):
            render(result, Catalog(prefix))
