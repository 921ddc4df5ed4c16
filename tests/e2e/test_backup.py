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


def test_what_cannot_be_done_is_said_with_an_exit_code(memory: Server, tmp_path: Path) -> None:
    shelf = str(tmp_path / "shelf")
    memory.cygni("backup", shelf)
    assert "whole, made" in memory.cygni("backup:verify", shelf).stdout
    refused = memory.cygni("restore", shelf, check=False)
    assert (refused.returncode, "is in use by a running server" in refused.stderr) == (1, True)
    refused = memory.cygni("db:move", "postgresql://x@/y?host=/nowhere", check=False)
    assert (refused.returncode, "Stop it first" in refused.stderr) == (1, True)
    memory.settings["CYGNI_BACKUP_PASSPHRASE"] = "wrong"
    refused = memory.cygni("backup:verify", shelf, check=False)
    assert (refused.returncode, "is not the passphrase" in refused.stderr) == (1, True)
    del memory.settings["CYGNI_BACKUP_PASSPHRASE"]
    refused = memory.cygni("backup", shelf, check=False)
    assert (refused.returncode, "CYGNI_BACKUP_PASSPHRASE is not set" in refused.stderr) == (1, True)
    assert "runs on the server's own shell" in memory.ssh("backup", check=False).stderr


@pytest.mark.docker
def test_images_are_built_again_on_an_engine_that_has_none(
    own_server: Server, repository: Make, tmp_path: Path
) -> None:
    own_server.settings["CYGNI_BACKUP_PASSPHRASE"] = PASSPHRASE
    work = repository(app())
    own_server.push(work, "shop")
    own_server.ssh("config:set", "-a", "shop", "COLOUR=blue")
    before = releases(own_server, "shop")
    own_server.cygni("backup", str(tmp_path / "shelf"))
    own_server.stop()
    own_server.clean_engine()
    shutil.rmtree(own_server.data)
    own_server.cygni("restore", str(tmp_path / "shelf"))
    own_server.start()
    eventually(lambda: own_server.get("shop") == (200, "one v2"), limit=150)
    assert releases(own_server, "shop") == before
    assert own_server.ssh("config:get", "-a", "shop", "COLOUR").stdout == "blue\n"
    logged = own_server.ssh("logs", "-a", "shop", "-n", "1000").stdout
    assert "The image of v2 is missing; building it again" in logged
    assert "could not be started" not in logged
