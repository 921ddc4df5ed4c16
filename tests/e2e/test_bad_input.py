"""What bad input gets: a clear message, an exit code, nothing lost, nothing left behind."""

import os
import re
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from apps import app, says
from tests_support import (
    Completed,
    Load,
    Repository,
    Server,
    command_lines,
    disk_free,
    eventually,
    example,
    make_key,
    running_server,
)

pytestmark = pytest.mark.docker

Make = Callable[[Mapping[str, str]], Repository]


def refused(pushed: Completed, *said: str) -> str:
    """The push was rejected, and its output holds each of these."""
    assert pushed.returncode != 0, pushed.stderr
    text = re.sub(r"remote: ?", "", pushed.stderr)
    for part in said:
        assert part in text, text
    return text


def builds(server: Server, name: str) -> str:
    return server.cygni("builds", name, check=False).stdout


def test_an_unknown_key_is_refused(server: Server, repository: Make, tmp_path: Path) -> None:
    stranger = make_key(tmp_path / "stranger")
    refused(server.push(repository(app()), "nokey", key=stranger, check=False), "Permission denied")
    assert "nokey" not in server.cygni("apps").stdout


@pytest.mark.parametrize("name", ["Bad_Name", "9lives", "a", "x" * 31, "ends-"])
def test_a_bad_app_name_is_explained(server: Server, repository: Make, name: str) -> None:
    refused(
        server.push(repository(app()), name, check=False), "cannot be an app's name", "2 to 30 characters"
    )
    assert name not in server.cygni("apps").stdout


def test_an_empty_repository_is_refused(server: Server, repository: Make) -> None:
    refused(server.push(repository({}), "empty", check=False), "empty")
    assert "failed" in builds(server, "empty")


def test_nothing_detected_lists_what_was_looked_for_and_seen(server: Server, repository: Make) -> None:
    pushed = server.push(repository({"notes.md": "hello", "main.zig": ""}), "nothing", check=False)
    refused(pushed, "requirements.txt", "package.json", "main.zig", "notes.md")


def test_a_broken_procfile_line_is_named_by_its_number(server: Server, repository: Make) -> None:
    broken = app(Procfile="web: python3 server.py\nthis is no process\n")
    refused(server.push(repository(broken), "procfile", check=False), "Procfile", "2")


def test_a_failing_build_shows_its_step_and_keeps_the_old_release(server: Server, repository: Make) -> None:
    work = repository(app())
    server.push(work, "failing")
    work.commit({"requirements.txt": "no-such-distribution-cygni==1.0\n"})
    refused(
        server.push(work, "failing", check=False), "no-such-distribution-cygni", "Push rejected to failing"
    )
    assert server.get("failing") == (200, "one v1")
    assert "failed" in builds(server, "failing")


def dockerfile(*lines: str) -> dict[str, str]:
    return {"Dockerfile": "\n".join(["FROM cygni-stack/debian-bookworm:run", *lines, ""])}


def test_a_hanging_build_is_stopped_at_its_limit(
    repository: Make, tmp_path: Path, networks: Callable[[], str]
) -> None:
    with running_server(tmp_path, network=networks(), build_timeout="5") as server:
        marker = uuid4().hex
        pushed = server.push(repository(dockerfile(f"RUN sleep 600; : {marker}")), "hanging", check=False)
        refused(
            pushed, "longer than 5 seconds during [2/2] RUN sleep 600", "CYGNI_BUILD_TIMEOUT", "push again"
        )
        assert not command_lines(marker)


def test_a_build_that_fills_memory_is_stopped_and_named(
    repository: Make, tmp_path: Path, networks: Callable[[], str]
) -> None:
    with running_server(tmp_path, network=networks(), build_memory=str(256 << 20)) as server:
        greedy = dockerfile('RUN python3 -c "import time; x = bytearray(1 << 30); time.sleep(30)"')
        refused(
            server.push(repository(greedy), "greedy", check=False),
            "ut of memory (limit 256 MB)",
            "exit code 137",
            "push again",
        )


@pytest.mark.timeout(400)
def test_endless_output_ends_the_build_long_before_its_time_limit(server: Server, repository: Make) -> None:
    marker = uuid4().hex
    pushed = server.push(repository(dockerfile(f"RUN yes {marker}")), "endless", check=False)
    refused(
        pushed,
        f"Endless output of [2/2] RUN yes {marker}",
        "Print less",
        "push again",
        "Push rejected to endless",
    )
    assert not command_lines(marker)
    assert "Endless output" in builds(server, "endless")


def test_a_build_that_prints_a_secret_shows_stars(server: Server, repository: Make) -> None:
    work = repository(app())
    server.push(work, "secrets")
    server.ssh("config:set", "-a", "secrets", "API_TOKEN=s3cr3t-v4lue-xyz")
    leak = "RUN --mount=type=secret,id=app-env cat /run/secrets/app-env; false"
    work.commit({**dockerfile(leak, 'CMD ["python3", "server.py"]')})
    pushed = refused(server.push(work, "secrets", check=False), "hidden")
    assert "s3cr3t-v4lue-xyz" not in pushed
    kept = server.ssh("builds:output", "-a", "secrets").stdout
    assert "[hidden]" in kept
    assert "s3cr3t-v4lue-xyz" not in kept
    assert "s3cr3t-v4lue-xyz" not in server.log()


BROKEN = {
    "exits": (app(server_py="raise SystemExit('no such setting: DATABASE')\n"), "no such setting: DATABASE"),
    "never": (app(server_py="import time\ntime.sleep(600)\n"), "$PORT"),
    "loopback": (app(host="127.0.0.1"), "0.0.0.0"),
    "wrongport": (app(port="4444"), "4444"),
}


@pytest.mark.parametrize("kind", list(BROKEN))
def test_a_release_that_does_not_come_up_is_explained_and_the_old_one_serves(
    server: Server, repository: Make, kind: str
) -> None:
    files, said = BROKEN[kind]
    work = repository(app())
    server.push(work, kind)
    server.ssh("health:set", "-a", kind, "boot-timeout=4")
    with Load(server, kind) as load:
        work.commit(files)
        refused(server.push(work, kind, check=False), "Release v2 failed", said, "v1 goes on serving")
    assert load.failures == []
    assert server.get(kind) == (200, "one v1")
    assert {c.labels["cygni.release"] for c in server.containers(kind, everything=True)} == {"1"}


def test_a_health_path_that_answers_500_is_quoted(server: Server, repository: Make) -> None:
    work = repository(app())
    server.push(work, "unwell")
    server.ssh("health:set", "-a", "unwell", "path=/status/500", "boot-timeout=4")
    work.commit({"server.py": says("two")})
    refused(server.push(work, "unwell", check=False), "500", "/status/500", "v1 goes on serving")
    assert server.get("unwell") == (200, "one v1")


def test_a_failing_release_command_keeps_the_old_release(server: Server, repository: Make) -> None:
    work = repository(app())
    server.push(work, "migrate")
    release = "release: sh -c 'echo migrating; exit 3'\n"
    work.commit({"Procfile": release + app()["Procfile"], "server.py": says("two")})
    refused(server.push(work, "migrate", check=False), "migrating", "status 3", "v1 goes on serving")
    assert server.get("migrate") == (200, "one v1")


def test_a_failing_worker_keeps_the_whole_old_release(server: Server, repository: Make) -> None:
    work = repository(app(Procfile="web: python3 server.py\nworker: sleep 600\n"))
    server.push(work, "allornothing")
    server.ssh("ps:scale", "-a", "allornothing", "worker=1")
    work.commit(
        {
            "Procfile": "web: python3 server.py\nworker: sh -c 'echo no queue; exit 7'\n",
            "server.py": says("two"),
        }
    )
    refused(server.push(work, "allornothing", check=False), "worker.1", "no queue", "v1 goes on serving")
    assert server.get("allornothing") == (200, "one v1")


def test_an_almost_full_disk_refuses_before_receiving(
    repository: Make, tmp_path: Path, networks: Callable[[], str]
) -> None:
    with running_server(tmp_path, network=networks(), disk_reserve=str(1 << 50)) as server:
        refused(server.push(repository(app()), "full", check=False), "disk is almost full")
        assert "full" not in server.cygni("apps").stdout


def test_a_disk_that_the_push_itself_fills_is_noticed_before_a_build_begins(
    repository: Make, networks: Callable[[], str]
) -> None:
    shared = Path("/dev/shm")
    if not shared.is_dir() or disk_free(shared) < 300 << 20:
        pytest.skip("NO ROOM IN /dev/shm, nothing is proven here")
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        reserve = disk_free(shared) - (60 << 20)
        with running_server(Path(folder), network=networks(), disk_reserve=str(reserve)) as server:
            work = repository(app())
            (work.path / "big").write_bytes(os.urandom(100 << 20))
            work.commit({})
            pushed = server.push(work, "filling", check=False)
            text = refused(pushed, "disk is almost full", "Nothing of this push was kept")
            assert "-----> Building" not in text
            assert "filling" not in server.cygni("apps").stdout
            assert server.images("filling") == []
            eventually(lambda: not list(server.data.glob("repositories/*/objects/*incoming*")))


def test_stale_and_funny_refs_are_refused_before_a_build(server: Server, repository: Make) -> None:
    work = repository(app())
    server.push(work, "refs")
    for ref in ("HEAD:HEAD", "main:refs/funny", "main:refs/heads/-x"):
        assert server.push(work, "refs", ref, check=False).returncode != 0
    assert server.cygni("builds", "refs", "--json").stdout.count('"number"') == 1


def test_deleting_the_deploy_branch_is_refused(server: Server, repository: Make) -> None:
    work = repository(app())
    server.push(work, "deletion")
    refused(server.push(work, "deletion", ":main", check=False), "main")
    assert server.get("deletion")[0] == 200


def test_an_unknown_push_option_is_refused(server: Server, repository: Make) -> None:
    refused(
        server.push(repository(app()), "option", "--push-option=nobuild", check=False),
        "no push option 'nobuild'",
    )


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["lgos"], 2, "Did you mean logs?"),
        (["config:set", "-a", "cmds", "9=x"], 1, "config name"),
        (["config:set", "-a", "cmds", "PORT=1"], 1, "platform"),
        (["config:set", "-a", "cmds", "novalue"], 1, "FOO=bar"),
        (["ps:scale", "-a", "cmds", "web=lots"], 1, "web=2"),
        (["ps:scale", "-a", "cmds", "wbe=1"], 1, "no process type wbe"),
        (["rollback", "-a", "cmds"], 1, "no earlier release"),
        (["rollback", "-a", "cmds", "v9"], 1, "no release v9"),
        (["releases:info", "-a", "cmds", "latest"], 1, "v7"),
        (["builds:cancel", "-a", "cmds"], 1, "not running"),
        (["health:set", "-a", "cmds", "path=up"], 1, "invalid"),
        (["keys:add", "k"], 1, "public key"),
        (["logs", "-a", "absent"], 1, "no app absent"),
    ],
)
def test_commands_refuse_nonsense_with_a_hint(
    server: Server, repository: Make, words: list[str], code: int, said: str
) -> None:
    if "cmds" not in server.cygni("apps").stdout:
        server.push(repository(app()), "cmds")
    done = server.ssh(*words, check=False)
    assert done.returncode == code, done.stderr
    assert said in done.stderr


def test_an_app_that_breaks_behind_a_server_that_binds_first_is_not_deployed(
    server: Server, repository: Make
) -> None:
    """gunicorn accepts connections before it loads the app, and starts it again when that fails."""
    work = repository(example("python"))
    server.push(work, "bindsfirst")
    server.ssh("health:set", "-a", "bindsfirst", "boot-timeout=8")
    with Load(server, "bindsfirst") as load:
        work.commit({"app.py": "raise SystemExit('no such setting: DATABASE')\n"})
        refused(
            server.push(work, "bindsfirst", check=False),
            "Release v2 failed",
            "GET / was not answered",
            "v1 goes on serving",
        )
    assert load.failures == []
    assert "release v1" in server.get("bindsfirst")[1]
