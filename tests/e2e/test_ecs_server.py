"""The whole server on ECS's simulated data plane: real git, SSH and router; pretended AWS."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from apps import app
from tests_support import Load, Repository, Server, eventually, running_server

Make = Callable[[Mapping[str, str]], Repository]

APP = app()
SERVER = Path(__file__).parents[1] / "support" / "ecs_server.py"
SETTINGS = {
    "engine": "ecs",
    "docker_host": "unix:///nowhere",
    "ecs_region": "eu-central-1",
    "ecs_subnets": "subnet-1",
    "ecs_security_groups": "sg-1",
    "ecs_execution_role": "arn:aws:iam::123456789012:role/cygni-execution",
}


@pytest.fixture
def ecs(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, (sys.executable, str(SERVER)), **SETTINGS) as made:
        yield made


def program(**fields: object) -> dict[str, str]:
    return {"cygni-memory.json": json.dumps(fields)}


def test_a_push_goes_live_is_swapped_without_a_failed_request_and_rolled_back(
    ecs: Server, repository: Make
) -> None:
    work = repository({**APP, **program(lines=["hello from a task"])})
    assert "Released v1" in ecs.push(work, "shop").stderr
    assert ecs.get("shop") == (200, "shop v1 web.1")
    with Load(ecs, "shop") as load:
        work.commit({"note": "two"})
        ecs.push(work, "shop")
        eventually(lambda: "shop v2 web.1" in load.bodies)
        ecs.ssh("rollback", "-a", "shop", "v1")
        eventually(lambda: "shop v3 web.1" in load.bodies)
    assert load.failures == []
    ecs.ssh("config:set", "-a", "shop", "COLOUR=blue")
    ecs.ssh("ps:scale", "-a", "shop", "web=2")
    eventually(lambda: {ecs.get("shop")[1] for _ in range(9)} == {"shop v4 web.1", "shop v4 web.2"})
    eventually(lambda: "app[web.2]: hello from a task" in ecs.ssh("logs", "-a", "shop").stdout)
    assert "web.2" in ecs.ssh("ps", "-a", "shop").stdout
    refused = ecs.ssh("run", "-a", "shop", "env", check=False)
    assert refused.returncode != 0
    assert "run -d" in refused.stdout + refused.stderr
    ecs.ssh("run", "-a", "shop", "-d", "task")
    assert eventually(lambda: "run.1" in ecs.ssh("run:list", "-a", "shop").stdout)
    ecs.ssh("apps:destroy", "-a", "shop", "--confirm", "shop")


def test_a_release_that_does_not_come_up_leaves_the_one_before(ecs: Server, repository: Make) -> None:
    work = repository(APP)
    ecs.push(work, "shop")
    work.commit(program(lines=["cannot find the database"], bind="nothing", exit_after=0.1, exit_code=3))
    refused = ecs.push(work, "shop", check=False)
    assert refused.returncode != 0
    assert "cannot find the database" in refused.stderr
    assert "exited with status 3" in refused.stderr
    assert ecs.get("shop") == (200, "shop v1 web.1")
