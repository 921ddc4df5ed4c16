"""Pushing: what a user types and sees, from the first push to the swap."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from apps import app, says
from tests_support import Load, Repository, Server, eventually, example, make_key

pytestmark = pytest.mark.docker

Make = Callable[[Mapping[str, str]], Repository]

APP = app()


def test_a_first_push_creates_the_app_and_its_url_answers(server: Server, repository: Make) -> None:
    work = repository(example("python"))
    pushed = server.push(work, "first").stderr
    assert "-----> " in pushed
    assert "Released v1" in pushed
    assert f"http://first.localhost:{server.ports['http_port']}/" in pushed
    status, body = server.get("first")
    assert status == 200
    assert body


def test_a_second_push_swaps_without_a_failed_request(server: Server, repository: Make) -> None:
    work = repository(APP)
    server.push(work, "swap")
    with Load(server, "swap") as load:
        work.commit({"server.py": APP["server.py"].replace("one ", "two ")})
        server.push(work, "swap")
        eventually(lambda: "two v2" in load.bodies)
    assert load.failures == []
    assert server.get("swap") == (200, "two v2")


def test_pushing_the_same_commit_again_does_nothing(server: Server, repository: Make) -> None:
    work = repository(APP)
    server.push(work, "again")
    assert "Everything up-to-date" in server.push(work, "again").stderr


def test_another_branch_is_refused_before_a_build_with_the_command_that_works(
    server: Server, repository: Make
) -> None:
    work = repository(APP)
    server.push(work, "branch")
    work.git("branch", "feature")
    refused = server.push(work, "branch", "feature", check=False)
    assert refused.returncode != 0
    assert "git push cygni feature:main" in refused.stderr
    assert "Building" not in refused.stderr
    assert len(server.cygni("builds", "branch", "--json").stdout.split('"number"')) == 2


def test_tags_are_stored_without_a_build(server: Server, repository: Make) -> None:
    work = repository(APP)
    server.push(work, "tags")
    work.git("tag", "v1.0")
    assert "[new tag]" in server.push(work, "tags", "v1.0").stderr
    assert server.cygni("builds", "tags", "--json").stdout.count('"number"') == 1


def test_a_clone_gives_the_pushed_branch(server: Server, repository: Make, tmp_path: Path) -> None:
    work = repository(APP)
    server.push(work, "cloned", "main:master")
    target = tmp_path / "clone"
    work.git("clone", "-q", server.url("cloned"), str(target), env=server.push_environment())
    assert (target / "server.py").read_text() == APP["server.py"]


def test_a_shallow_clone_can_push_to_a_new_and_to_an_existing_app(
    server: Server, repository: Make, tmp_path: Path
) -> None:
    work = repository(APP)
    for n in range(3):
        work.commit({"note": str(n)})
    shallow = tmp_path / "shallow"
    work.git("clone", "-q", "--depth=1", f"file://{work.path}", str(shallow))
    Repository.at(shallow).commit({"note": "ci"})
    server.push(Repository.at(shallow), "shallow")
    Repository.at(shallow).commit({"note": "ci again"})
    assert "Released v2" in server.push(Repository.at(shallow), "shallow").stderr


def test_a_detached_push_returns_and_the_build_can_be_followed(server: Server, repository: Make) -> None:
    work = repository(APP)
    done = work.git("push", "-o", "detach", server.url("detached"), "main", env=server.push_environment())
    assert "Released" not in done.stderr
    followed = eventually(lambda: server.ssh("builds:output", "-a", "detached", "-t", check=False).stdout)
    assert "Released v1" in followed
    assert server.get("detached")[1] == "one v1"
    assert server.ssh("builds:output", "-a", "detached").stdout == followed


def test_a_forced_push_back_deploys_the_old_commit(server: Server, repository: Make) -> None:
    work = repository(APP)
    first = work.head
    server.push(work, "forced")
    work.commit({"server.py": APP["server.py"].replace("one ", "two ")})
    server.push(work, "forced")
    server.push(work, "forced", "--force", f"{first}:main")
    assert server.get("forced") == (200, "one v3")


def test_rollback_brings_code_and_config_back(server: Server, repository: Make) -> None:
    work = repository(APP)
    server.push(work, "back")
    server.ssh("config:set", "-a", "back", "COLOUR=blue")
    work.commit({"server.py": APP["server.py"].replace("one ", "two ")})
    server.push(work, "back")
    server.ssh("rollback", "-a", "back", "v1")
    assert server.get("back") == (200, "one v4")
    assert server.ssh("config:get", "-a", "back", "COLOUR", check=False).returncode == 1


def test_config_reaches_the_app_and_restarts_it_without_a_failed_request(
    server: Server, repository: Make
) -> None:
    page = says("COLOUR").replace(
        '"COLOUR " + os.environ["CYGNI_RELEASE"]', 'os.environ.get("COLOUR", "none")'
    )
    work = repository({**APP, "server.py": page})
    server.push(work, "config")
    with Load(server, "config") as load:
        server.ssh("config:set", "-a", "config", "COLOUR=green")
        eventually(lambda: "green" in load.bodies)
    assert load.failures == []
    assert load.bodies <= {"none", "green"}


def test_scaling_and_logs(server: Server, repository: Make) -> None:
    work = repository(
        {**APP, "Procfile": APP["Procfile"] + "worker: sh -c 'while :; do echo working; sleep 1; done'\n"}
    )
    server.push(work, "scaled")
    server.ssh("ps:scale", "-a", "scaled", "web=2", "worker=1")
    shown = server.ssh("ps", "-a", "scaled").stdout
    assert "web.1: up" in shown
    assert "web.2: up" in shown
    assert "worker.1: up" in shown
    eventually(lambda: "app[worker.1]: working" in server.ssh("logs", "-a", "scaled").stdout)
    server.get("scaled")
    eventually(lambda: "cygni[router]: at=info method=GET" in server.ssh("logs", "-a", "scaled").stdout)
    server.ssh("ps:scale", "-a", "scaled", "web=0")
    assert server.get("scaled")[0] == 503


def test_a_destroyed_app_leaves_nothing_behind(server: Server, repository: Make) -> None:
    server.push(repository(APP), "gone")
    refused = server.ssh("apps:destroy", "-a", "gone", check=False)
    assert "--confirm gone" in refused.stderr
    server.ssh("apps:destroy", "-a", "gone", "--confirm", "gone")
    assert server.get("gone")[0] == 404
    assert server.containers("gone", everything=True) == []
    assert server.images("gone") == []
    assert "gone" not in server.ssh("apps").stdout
    outputs = [path for path in (server.data / "builds").iterdir() if "Building gone" in path.read_text()]
    assert outputs == []


def test_another_users_app_looks_like_no_app(server: Server, repository: Make, tmp_path: Path) -> None:
    server.push(repository(APP), "private")
    other = make_key(tmp_path / "other")
    server.cygni("keys:add", "other", input=other.with_suffix(".pub").read_text())
    work = repository(APP)
    mine = server.push(work, "private", key=other, check=False)
    none = server.push(work, "absent", key=other, check=False)
    assert mine.returncode != 0
    assert mine.stderr.replace("private", "X") == none.stderr.replace("absent", "X")
    assert "There is no app private that you may use" in mine.stderr
    seen = server.ssh("logs", "-a", "private", key=other, check=False)
    assert "There is no app private" in seen.stderr
    server.cygni("access:add", "-a", "private", "other", "--role", "viewer")
    refusal = server.push(work, "private", key=other, check=False).stderr
    assert "This needs the role deployer on private; you are viewer" in refusal
    assert server.ssh("ps", "-a", "private", key=other).stdout


def test_a_dockerignore_means_nothing_to_a_generated_build(server: Server, repository: Make) -> None:
    server.push(repository({**APP, ".dockerignore": "server.py\n"}), "ignorefile")
    assert server.get("ignorefile") == (200, "one v1")
