"""Backup and restore of a whole server: the first one's state is destroyed, the second one serves the same."""

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from apps import app
from tests_support import Push, Repository, Server, eventually, running_server

Make = Callable[[Mapping[str, str]], Repository]

PASSPHRASE = "correct horse battery staple"
MEMORY = {"engine": "memory", "docker_host": "unix:///nowhere", "backup_passphrase": PASSPHRASE}


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, **MEMORY) as made:
        yield made


def app_with(body: str) -> dict[str, str]:
    return {**app(), "cygni-memory.json": json.dumps({"lines": [body]})}


def releases(server: Server, name: str) -> list[tuple[int, str, str]]:
    listed = json.loads(server.ssh("releases", "-a", name, "--json").stdout)
    return [(item["version"], item["status"], item["commit"]) for item in listed]


def destroyed_and_restored(server: Server, shelf: Path) -> None:
    """End the machine (server, router, instances), lose its disk, restore on an empty one, start."""
    server.stop()
    shutil.rmtree(server.data)
    server.cygni("restore", str(shelf))
    server.start()


def test_apps_config_and_releases_are_back_after_the_state_was_destroyed(
    memory: Server, repository: Make, tmp_path: Path
) -> None:
    shelf = tmp_path / "shelf"
    shop, blog = repository(app()), repository(app())
    memory.push(shop, "shop")
    memory.ssh("config:set", "-a", "shop", "COLOUR=blue")
    shop.commit({"note": "two"})
    memory.push(shop, "shop")
    memory.push(blog, "blog")
    memory.ssh("config:set", "-a", "blog", "SIZE=9")
    before = {name: releases(memory, name) for name in ("shop", "blog")}
    assert [version for version, _, _ in before["shop"]] == [3, 2, 1]
    shop.commit({"cygni-memory.json": json.dumps({"bind_after": 600})})
    pushing = Push(memory, shop, "shop")
    eventually(lambda: "Releasing v4" in pushing.output)
    made = memory.cygni("backup", str(shelf)).stdout
    assert "2 apps" in made
    destroyed_and_restored(memory, shelf)
    assert pushing.code != 0
    # An unchanged host key and address: ssh would refuse another key at the port that it knows.
    eventually(lambda: memory.get("shop") == (200, "shop v3 web.1"))
    eventually(lambda: memory.get("blog") == (200, "blog v2 web.1"))
    after = {name: releases(memory, name) for name in ("shop", "blog")}
    assert after["blog"] == before["blog"]
    assert after["shop"][1:] == before["shop"]
    assert after["shop"][0][:2] == (4, "failed")
    assert memory.ssh("config:get", "-a", "shop", "COLOUR").stdout == "blue\n"
    assert memory.ssh("config:get", "-a", "blog", "SIZE").stdout == "9\n"
    assert "Release v3 created" in memory.ssh("logs", "-a", "shop", "-n", "1000").stdout
    shop.commit({"cygni-memory.json": "{}"})
    assert "Released v5" in memory.push(shop, "shop").stderr
    assert list(memory.data.glob(".*")) == []
