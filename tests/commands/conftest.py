"""Servers with an app for the tests of commands, through OpenSSH's own client.

`server` runs apps in memory and answers quickly; `docker_server` is for what only a real engine shows.
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apps import app
from tests_support import Completed, Repository, Server, free_subnet, make_key, running_server

PROCFILE = "web: python3 server.py\nworker: python3 worker.py\n"
WORKER = "import signal\nprint('working', flush=True)\nsignal.pause()\n"

Person = Callable[..., Completed]


def two_types() -> dict[str, str]:
    """An app with a web and a worker process."""
    return app(Procfile=PROCFILE, worker_py=WORKER)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("memory"), engine="memory") as made:
        yield made


@pytest.fixture(scope="session")
def shop(server: Server, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An app with a release; tests leave it running."""
    server.push(Repository(tmp_path_factory.mktemp("work") / "shop", two_types()), "shop")
    return "shop"


@pytest.fixture(scope="session")
def docker_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("docker"), network=free_subnet()) as made:
        yield made


@pytest.fixture(scope="session")
def person(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Person]:
    """Users with a key of their own: calling one runs a command as that user."""
    known: dict[str, Path] = {}

    def make(name: str) -> Person:
        if name not in known:
            known[name] = make_key(tmp_path_factory.mktemp("keys") / name)
            server.cygni("keys:add", name, input=known[name].with_suffix(".pub").read_text())
        return lambda *words, **more: server.ssh(*words, key=known[name], **more)

    return make


@pytest.fixture(scope="session")
def ask(server: Server) -> Callable[..., Any]:
    """Run a command with --json and return what it printed."""
    return lambda *words: json.loads(server.ssh(*words, "--json").stdout)
