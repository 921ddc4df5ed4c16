"""Apps of every kind that can be built here: pushed files to a first HTTP answer, on the real engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pip._internal.models.index import PyPI

from buildpacks.plan import Plan, Run
from buildpacks.planner import plan
from buildpacks.tree import DirectoryTree, MemoryTree

if TYPE_CHECKING:
    from tests.buildpacks_apps.conftest import Runner, Workshop

pytestmark = [pytest.mark.docker, pytest.mark.timeout(420)]

APPS = Path(__file__).parent / "apps"
INDEX = b"{index}"
"""Stands for the address of Python's package index in a lock file that has to hold one."""

Answer = tuple[str, int, str]


@dataclass(frozen=True)
class App:
    """An app of `apps/`, and what it answers: the body at `/`, and `also` at other paths."""

    name: str
    body: str
    environment: Mapping[str, str] = field(default_factory=dict)
    also: tuple[Answer, ...] = ()

    @property
    def provider(self) -> str:
        return self.name.partition("-")[0]

    def files(self) -> dict[str, bytes]:
        found = DirectoryTree(APPS / self.name)
        files = {entry.path: b"".join(found.chunks(entry.path)) for entry in found.entries()}
        index = PyPI.simple_url.rstrip("/").encode()
        return {path: content.replace(INDEX, index) for path, content in files.items()}


TABLE = (
    App("python-pip", "flask, by pip"),
    App("python-pipenv", "flask, by pipenv"),
    App("python-poetry", "starlette, by poetry"),
    App("python-uv", "flask, by uv"),
    App("python-pdm", "flask, by pdm"),
    App("python-django", "django on 3.13, sessions: 1", also=(("/static/style.css", 200, "teal"),)),
    App("python-fastapi-vite", "Built by Vite", also=(("/api", 200, "by FastAPI"),)),
    App("node-npm", "npm, 1m, production, without tools"),
    App("node-yarn1", "yarn1, 1m, production, without tools"),
    App("node-yarn4", "yarn4, 1m, production, without tools"),
    App("node-yarn4-pnp", "yarn4-pnp, 1m, production, without tools"),
    App("node-pnpm", "pnpm, 1m, production, without tools"),
    App("node-bun", "bun, 1m, production, without tools"),
    App("node-pnpm-workspace", "greetings after 1s, greetings after 1s"),
    App("node-vite", "Built by Vite", also=(("/a/page", 200, "Built by Vite"),)),
    App("go-vendored", "hello from a vendored module, go1.25"),
    App("ruby-plain", "plain Ruby 3.3"),
    App("ruby-sinatra", "says hello"),
    App("ruby-rails", "/assets/shop-"),
    App("php-composer", "HELLO FROM PHP 8 at /", also=(("/a/page", 200, "at /a/page"), ("/.env", 403, ""))),
    App("rust-plain", "hello from rust"),
    App("elixir-plain", "hello from elixir"),
    App("deno-plain", "hello from deno"),
    App("static-plain", "A page", also=(("/nothing", 404, "Not here"),)),
    App("node-member", "the member web, with a library, without tools"),
    App("node-next", "rendered by Next.js", {"WHO": "nobody"}, also=(("/", 200, "nobody"),)),
)


@pytest.mark.parametrize("app", TABLE, ids=lambda app: app.name)
async def test_an_app_is_built_and_answers(app: App, workshop: "Workshop", runner: "Runner") -> None:
    planned, image = await workshop.build(MemoryTree(app.files()))
    assert planned.provider == app.provider
    runner.start(image.id, dict(app.environment))
    for path, status, body in (("/", 200, app.body), *app.also):
        answer = runner.get(path)
        assert answer[0] == status
        assert body in answer[1]


async def test_uv_installs_what_its_lock_says(workshop: "Workshop", runner: "Runner") -> None:
    """A lock of uv names the index, so it is made here, by the uv that then installs from it."""
    files = App("python-uv", "").files()
    without = plan(MemoryTree(files))
    assert isinstance(without, Plan)
    tool = await workshop.make(without, MemoryTree(files), target="tool")
    lock = runner.output_of(tool.id, files, "/opt/tool/bin/uv lock --quiet && cat uv.lock")
    planned, image = await workshop.build(MemoryTree({**files, "uv.lock": lock}))
    assert any(
        "uv sync --locked" in action.command
        for step in planned.steps
        for action in step.actions
        if isinstance(action, Run)
    )
    runner.start(image.id, {})
    assert runner.get("/") == (200, "flask, by uv")
