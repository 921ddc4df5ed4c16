"""Apps of every kind that can be built here: pushed files to a first HTTP answer, on the real engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from pip._internal.models.index import PyPI

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

    def tree(self) -> MemoryTree:
        found = DirectoryTree(APPS / self.name)
        files = {entry.path: b"".join(found.chunks(entry.path)) for entry in found.entries()}
        index = PyPI.simple_url.rstrip("/").encode()
        return MemoryTree({path: content.replace(INDEX, index) for path, content in files.items()})


TABLE = (
    App("python-pip", "flask, by pip"),
    App("python-pipenv", "flask, by pipenv"),
    App("python-poetry", "starlette, by poetry"),
    App("python-uv", "flask, by uv"),
    App("python-pdm", "flask, by pdm"),
    App("python-django", "django on 3.13, sessions: 1", also=(("/static/style.css", 200, "teal"),)),
    App("python-fastapi-vite", "Built by Vite", also=(("/api", 200, "by FastAPI"),)),
    App("node-npm", "npm, 1m, production"),
    App("node-yarn1", "yarn1, 1m, production"),
    App("node-yarn4", "yarn4, 1m, production"),
    App("node-yarn4-pnp", "yarn4-pnp, 1m, production"),
    App("node-pnpm", "pnpm, 1m, production"),
    App("node-bun", "bun, 1m, production"),
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
    App("node-next", "rendered by Next.js", {"WHO": "nobody"}, also=(("/", 200, "nobody"),)),
)


@pytest.mark.parametrize("app", TABLE, ids=lambda app: app.name)
async def test_an_app_is_built_and_answers(app: App, workshop: "Workshop", runner: "Runner") -> None:
    planned, image = await workshop.build(app.tree())
    assert planned.provider == app.provider
    runner.start(image.id, dict(app.environment))
    for path, status, body in (("/", 200, app.body), *app.also):
        answer = runner.get(path)
        assert answer[0] == status
        assert body in answer[1]
