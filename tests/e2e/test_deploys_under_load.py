"""Twenty deploys while visitors ask without a pause: none of them notices."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from apps import app
from tests_support import Load, Repository, eventually, running_server

Make = Callable[[Mapping[str, str]], Repository]
DEPLOYS = 20


@pytest.mark.timeout(400)
def test_twenty_deploys_under_load_lose_nothing(tmp_path: Path, repository: Make) -> None:
    work = repository(app())
    with running_server(tmp_path, engine="memory", docker_host="unix:///nowhere") as server:
        server.push(work, "shop")
        with Load(server, "shop", rate=200) as load:
            for n in range(2, DEPLOYS + 2):
                work.commit({"note": str(n)})
                assert f"Released v{n}" in server.push(work, "shop").stderr
                eventually(lambda n=n: f"shop v{n} web.1" in load.bodies)  # type: ignore[misc]
    assert load.failures == []
    assert {f"shop v{n} web.1" for n in range(2, DEPLOYS + 2)} <= set(load.bodies)
