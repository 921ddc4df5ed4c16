"""The whole server on the engine in memory: real git, SSH and router, no container engine."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from apps import app
from postgres import PostgreSQL
from tests_support import Load, Repository, Server, eventually, running_server

Make = Callable[[Mapping[str, str]], Repository]

APP = app()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, engine="memory", docker_host="unix:///nowhere") as made:
        yield made


def test_postgresql_is_the_database_of_a_whole_server(
    tmp_path: Path, postgres: PostgreSQL, repository: Make
) -> None:
    name = postgres.create("template0")
    with running_server(tmp_path, engine="memory", database_url=postgres.url(name)) as server:
        work = repository(APP)
        assert "Released v1" in server.push(work, "shop").stderr
        server.ssh("config:set", "-a", "shop", "COLOUR=blue")
        assert server.get("shop") == (200, "shop v2 web.1")
        server.kill()
        server.start()
        work.commit({"note": "after the kill"})
        assert "Released v3" in server.push(work, "shop").stderr
        assert eventually(lambda: server.get("shop") == (200, "shop v3 web.1"))
        assert server.ssh("config:get", "-a", "shop", "COLOUR").stdout == "blue\n"
    assert not (server.data / "cygni.db").exists()
    assert postgres.query(name, "SELECT count(*) FROM releases WHERE status = 'live'") == "1"


def program(**fields: object) -> dict[str, str]:
    return {"cygni-memory.json": json.dumps(fields)}


def test_a_push_goes_live_is_swapped_and_rolled_back(memory: Server, repository: Make) -> None:
    work = repository(APP)
    pushed = memory.push(work, "shop").stderr
    assert "Released v1" in pushed
    assert memory.get("shop") == (200, "shop v1 web.1")
    with Load(memory, "shop") as load:
        work.commit({"note": "two"})
        memory.push(work, "shop")
        eventually(lambda: "shop v2 web.1" in load.bodies)
        memory.ssh("rollback", "-a", "shop", "v1")
        eventually(lambda: "shop v3 web.1" in load.bodies)
    assert load.failures == []
    assert memory.get("shop") == (200, "shop v3 web.1")


def test_a_release_that_does_not_come_up_leaves_the_one_before(memory: Server, repository: Make) -> None:
    work = repository(APP)
    memory.push(work, "shop")
    work.commit(program(lines=["cannot find the database"], bind="nothing", exit_after=0.1, exit_code=3))
    refused = memory.push(work, "shop", check=False)
    assert refused.returncode != 0
    assert "cannot find the database" in refused.stderr
    assert "exited with status 3" in refused.stderr
    assert memory.get("shop") == (200, "shop v1 web.1")


def test_a_broken_program_is_named(memory: Server, repository: Make) -> None:
    refused = memory.push(repository({**APP, **program(colour="red")}), "shop", check=False)
    assert refused.returncode != 0
    assert "cygni-memory.json: not a program" in refused.stderr


def test_scale_logs_and_a_kill_of_the_server(memory: Server, repository: Make) -> None:
    work = repository({**APP, **program(lines=["hello from memory"])})
    memory.push(work, "shop")
    memory.ssh("ps:scale", "-a", "shop", "web=3")
    wanted = {f"shop v1 web.{n}" for n in (1, 2, 3)}
    eventually(lambda: {memory.get("shop")[1] for _ in range(9)} == wanted)
    eventually(lambda: "app[web.3]: hello from memory" in memory.ssh("logs", "-a", "shop").stdout)
    memory.kill()
    memory.start()
    assert eventually(lambda: memory.get("shop")[0] == 200 or None)
    work.commit({"note": "after the kill"})
    assert "Released v2" in memory.push(work, "shop").stderr


def test_the_branch_that_is_deployed_can_be_set(memory: Server, repository: Make, tmp_path: Path) -> None:
    work = repository(APP)
    memory.push(work, "shop")
    assert "production" in memory.ssh("git:set", "-a", "shop", "deploy-branch=production").stderr
    work.commit({"note": "two"})
    refused = memory.push(work, "shop", check=False)
    assert refused.returncode != 0
    assert "git push cygni main:production" in refused.stderr
    work.git("push", "-q", memory.url("shop"), "main:production", env=memory.push_environment())
    assert eventually(lambda: memory.get("shop") == (200, "shop v2 web.1"))
    work.git("clone", "-q", memory.url("shop"), str(tmp_path / "clone"), env=memory.push_environment())
    assert Repository.at(tmp_path / "clone").git("branch", "--show-current").stdout == "production\n"
