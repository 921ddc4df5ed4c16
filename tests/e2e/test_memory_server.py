"""The whole server on the engine in memory: real git, SSH and router, no container engine."""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from apps import app
from tests_support import Load, Repository, Server, eventually, running_server

Make = Callable[[Mapping[str, str]], Repository]

APP = app()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, engine="memory", docker_host="unix:///nowhere") as made:
        yield made


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
