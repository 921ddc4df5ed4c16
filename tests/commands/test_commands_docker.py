"""Apps, config, processes, releases and builds on a real engine, as fingers know them."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apps import app, says
from tests_support import Load, Repository, Server, eventually

pytestmark = pytest.mark.docker

Ask = Callable[..., Any]

PROCFILE = "web: python3 server.py\nworker: python3 worker.py\n"
WORKER = "import signal\nprint('working', flush=True)\nsignal.pause()\n"


@pytest.fixture(scope="module")
def server(docker_server: Server) -> Server:
    return docker_server


@pytest.fixture(scope="module")
def ask(server: Server) -> Ask:
    return lambda *words: json.loads(server.ssh(*words, "--json").stdout)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return Repository(tmp_path_factory.mktemp("work") / "shop", app(Procfile=PROCFILE, worker_py=WORKER))


@pytest.fixture(scope="module")
def shop(server: Server, work: Repository) -> str:
    """An app with a release; tests leave it running."""
    server.push(work, "shop")
    return "shop"


def live(ask: Ask, name: str = "shop") -> dict[str, Any]:
    return next(r for r in ask("releases", "-a", name) if r["status"] == "live")


# Apps


def test_an_app_is_created_renamed_locked_and_destroyed(server: Server, ask: Ask) -> None:
    made = server.ssh("apps:create", "blank")
    assert made.stderr == "Creating blank... done\n"
    assert made.stdout == f"http://blank.localhost:{server.ports['http_port']}/\n"
    renamed = server.ssh("apps:rename", "-a", "blank", "still")
    assert renamed.stderr == "Renaming blank to still... done\n"
    assert [item["name"] for item in ask("apps") if item["name"] in {"blank", "still"}] == ["still"]
    assert server.ssh("apps:lock", "still").stderr == "Locking still... done\n"
    assert ask("apps:info", "-a", "still")["locked_by"] == "tester"
    assert "locked by tester" in server.ssh("config:set", "-a", "still", "A=1", check=False).stderr
    assert "locked" in server.ssh("apps:destroy", "-a", "still", "--confirm", "still", check=False).stderr
    server.ssh("apps:unlock", "still")
    destroyed = server.ssh("apps:destroy", "-a", "still", "--confirm", "still")
    assert destroyed.stderr.endswith("Destroying still... done\n")
    assert "still" not in server.ssh("apps").stdout


def test_a_locked_app_refuses_a_push_and_serves_on(server: Server, shop: str, work: Repository) -> None:
    server.ssh("apps:lock", shop)
    try:
        head = work.commit({"server.py": says("two")})
        refused = server.push(work, shop, check=False)
        assert refused.returncode != 0
        assert "locked by tester" in refused.stderr
        assert server.get(shop)[0] == 200
        assert head not in server.ssh("builds", shop, "--json").stdout
    finally:
        server.ssh("apps:unlock", shop)


def test_renaming_moves_the_route_without_a_lost_request(server: Server) -> None:
    work = Repository(server.data.parent / "renamed", app())
    server.push(work, "before")
    with Load(server, "before") as load:
        server.ssh("apps:rename", "-a", "before", "after")
        answered = load.answers
    assert server.get("after") == (200, "one v1")
    assert server.get("before")[0] == 404
    assert answered
    assert all(" 404 " in failure for failure in load.failures), load.failures[:3]
    server.ssh("apps:destroy", "-a", "after", "--confirm", "after")


def test_destroying_asks_for_the_name_where_somebody_can_answer(server: Server) -> None:
    server.ssh("apps:create", "asked")
    asked = server.ssh("--", "--client=interactive", "apps:destroy", "-a", "asked", input="no\n", check=False)
    assert asked.returncode == 1
    assert "Type asked to go on: " in asked.stderr
    assert (
        server.ssh("--", "--client=interactive", "apps:destroy", "-a", "asked", input="asked\n").returncode
        == 0
    )


# Config


@pytest.fixture
def clean(server: Server, shop: str) -> Iterator[str]:
    """The shop, without config vars afterwards."""
    yield shop
    server.ssh("config:import", "-a", shop, "--replace", input="KEPT=1\n")
    server.ssh("config:set", "-a", shop, "KEPT=1")


def test_config_is_set_shown_and_unset_in_herokus_shapes(server: Server, clean: str, ask: Ask) -> None:
    before = live(ask)["version"]
    done = server.ssh("config:set", "-a", clean, "LANG=en_US.UTF-8", "'GREETING=hello world'")
    assert done.stdout == "LANG:     en_US.UTF-8\nGREETING: hello world\n"
    assert done.stderr.endswith(f"Setting LANG, GREETING and restarting shop... done, v{before + 1}\n")
    assert server.get(clean) == (200, f"one v{before + 1}")
    shown = server.ssh("config", clean).stdout
    assert shown.startswith("=== shop Config Vars\n\nGREETING: hello world\n")
    assert "GREETING='hello world'\n" in server.ssh("config", clean, "-s").stdout
    assert server.ssh("config:get", "-a", clean, "LANG").stdout == "en_US.UTF-8\n"
    server.ssh("config:unset", "-a", clean, "LANG", "GREETING")
    newest = ask("releases", "-a", clean)[0]
    assert (newest["reason"], newest["author"]) == ("Unset GREETING, LANG", "tester")
    assert "LANG" not in ask("config:keys", "-a", clean)


def test_no_restart_waits_for_the_next_release(server: Server, clean: str, ask: Ask) -> None:
    before = live(ask)["version"]
    done = server.ssh("config:set", "-a", clean, "LATER=1", "--no-restart")
    assert done.stderr == "Setting LATER... done, for the next release of shop\n"
    assert live(ask)["version"] == before
    server.ssh("config:set", "-a", clean, "NOW=1")
    assert {"LATER", "NOW"} <= set(live(ask)["config"])


NASTY = {
    "LINES": "a\nb",
    "QUOTES": 'it\'s "$HOME" `x` \\',
    "EMPTY": "",
    "UNICODE": "grün ☕",
    "HASH": "a #b",
    "SPACE": "  x ",
}


@pytest.mark.parametrize("form", ["dotenv", "json"])
def test_config_goes_out_and_in_as_a_file(server: Server, clean: str, ask: Ask, form: str) -> None:
    flags = ["--json"] if form == "json" else []
    server.ssh("config:import", "-a", clean, "--replace", "--no-restart", input=json.dumps(NASTY))
    exported = server.ssh("config:export", "-a", clean, *flags).stdout
    server.ssh("config:import", "-a", clean, "--replace", "--no-restart", input="KEPT=1\n")
    assert ask("config", "-a", clean) == {"KEPT": "1"}
    server.ssh("config:import", "-a", clean, "--replace", "--no-restart", input=exported)
    assert ask("config", "-a", clean) == NASTY
    again = server.ssh("config:import", "-a", clean, input=exported)
    assert "Nothing to change" in again.stderr


def test_an_import_on_top_of_an_unknown_state_is_refused(server: Server, clean: str) -> None:
    refused = server.ssh("config:import", "-a", clean, "--base", "0123", input="A=1\n", check=False)
    assert refused.returncode == 1
    assert "Somebody changed the config" in refused.stderr


def test_several_config_changes_at_once_coalesce_and_lose_nothing(
    server: Server, clean: str, ask: Ask
) -> None:
    before = live(ask)["version"]
    names = [f"AT_ONCE_{n}" for n in range(8)]
    threads = [
        threading.Thread(target=server.ssh, args=("config:set", "-a", clean, f"{name}=1")) for name in names
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    now = live(ask)
    assert set(names) <= set(now["config"])
    assert now["version"] - before < len(names)
    versions = [release["version"] for release in ask("releases", "-a", clean, "-n", "100")]
    assert versions == list(range(len(versions), 0, -1))


def test_a_config_change_that_breaks_the_app_changes_nothing_that_runs(server: Server, ask: Ask) -> None:
    source = 'import os\nassert os.environ.get("BREAK") != "yes", "told to break"\n' + app()["server.py"]
    server.push(Repository(server.data.parent / "fragile", app(server_py=source)), "fragile")
    with Load(server, "fragile") as load:
        failed = server.ssh("config:set", "-a", "fragile", "BREAK=yes", check=False)
    assert failed.returncode == 1
    for said in ("Release v2 failed", "told to break", "v1 goes on serving", "config vars stay set"):
        assert said in failed.stderr
    assert load.failures == []
    assert [r["status"] for r in ask("releases", "-a", "fragile")] == ["failed", "live"]
    server.ssh("config:unset", "-a", "fragile", "BREAK")
    server.ssh("apps:destroy", "-a", "fragile", "--confirm", "fragile")


def test_values_of_config_vars_are_hidden_in_what_the_platform_repeats(server: Server) -> None:
    source = "import os\nprint(os.environ.get('TOKEN'), flush=True)\n" + app()["server.py"]
    procfile = "web: python3 server.py\nrelease: sh -c 'echo token=$TOKEN'\n"
    server.push(
        Repository(server.data.parent / "discreet", app(server_py=source, Procfile=procfile)), "discreet"
    )
    done = server.ssh("config:set", "-a", "discreet", "TOKEN=s3cr3t-v4lue-xyz")
    assert "token=[hidden]" in done.stderr
    assert "s3cr3t" not in done.stderr
    broken = source.replace(
        "print(os.environ.get('TOKEN'), flush=True)", "raise SystemExit(os.environ.get('TOKEN'))"
    )
    work = Repository(server.data.parent / "indiscreet", app(server_py=broken))
    failed = server.push(work, "discreet", "+main", check=False)
    assert "Release v3 failed" in failed.stderr
    assert "[hidden]" in failed.stderr
    assert "s3cr3t" not in failed.stderr
    for words in (
        ("releases:output", "-a", "discreet"),
        ("builds:output", "-a", "discreet"),
        ("releases:info", "-a", "discreet", "v3", "--json"),
    ):
        assert "s3cr3t" not in server.ssh(*words).stdout
    assert "s3cr3t" not in server.log()
    server.ssh("apps:destroy", "-a", "discreet", "--confirm", "discreet")


# Processes


def test_processes_are_shown_with_state_memory_and_cpu(server: Server, shop: str, ask: Ask) -> None:
    assert server.ssh("ps:scale", "-a", shop, "worker=1").stderr.endswith(
        "now running web at 1, worker at 1\n"
    )
    server.ssh("ps:wait", "-a", shop, "--timeout", "60")
    shown = server.ssh("ps", shop).stdout
    assert re.search(r"^=== web: python3 server.py \(1\)\n\nweb\.1: up 20\d\d/", shown, re.MULTILINE)
    assert re.search(r"worker\.1: up .* v\d+, memory [\d.]+M of 512M, CPU \d+%\n", shown)
    (worker,) = ask("ps", "-a", shop, "worker")
    assert worker["state"] == "running"
    assert 1 << 20 < worker["memory_bytes"] < worker["memory_limit"] == 512 << 20
    server.ssh("ps:scale", "-a", shop, "worker=0")
    eventually(lambda: server.ssh("ps", shop, "worker").stderr == "No worker processes on shop\n")


def test_scaling_adds_and_takes_away(server: Server, shop: str, ask: Ask) -> None:
    server.ssh("ps:scale", "-a", shop, "web+1", "worker+2")
    assert ask("ps:scale", "-a", shop) == {"web": 2, "worker": 2}
    server.ssh("ps:scale", "-a", shop, "web-1", "worker=0")
    assert server.ssh("ps:scale", shop).stdout == "web=1 worker=0\n"


def test_a_stopped_web_answers_503_and_comes_back_as_it_was(server: Server, shop: str, ask: Ask) -> None:
    server.ssh("ps:scale", "-a", shop, "web=2")
    stopped = server.ssh("ps:stop", shop)
    assert stopped.stderr.endswith("Stopping web of shop... done\n")
    status, page = server.get(shop)
    assert status == 503
    assert "This app has no web process running." in page
    eventually(lambda: ask("ps", "-a", shop) == [])
    server.ssh("config:set", "-a", shop, "WHILE=stopped")
    assert server.get(shop)[0] == 503
    server.ssh("ps:start", shop)
    assert ask("ps:scale", "-a", shop)["web"] == 2
    assert server.get(shop)[0] == 200
    assert server.ssh("ps:start", shop, check=False).stderr.count("is stopped") == 1
    server.ssh("ps:scale", "-a", shop, "web=1")


def test_limits_replace_processes_without_a_lost_request(server: Server, shop: str, ask: Ask) -> None:
    with Load(server, shop) as load:
        server.ssh("ps:resize", "-a", shop, "web=192M:0.5")
    assert load.failures == []
    web = {item["type"]: item for item in ask("limits", "-a", shop)}["web"]
    assert (web["memory_bytes"], web["cpus"]) == (192 << 20, 0.5)
    eventually(lambda: [item["memory_limit"] for item in ask("ps", "-a", shop, "web")] == [192 << 20])
    (container,) = [c for c in server.containers(shop) if c.labels["cygni.process"] == "web"]
    assert container.attrs["HostConfig"]["NanoCpus"] == 500_000_000
    server.ssh("limits:set", "-a", shop, "web=default")
    assert "web     512M    -" in server.ssh("limits", shop).stdout


GREEDY = """
import time
print("filling", flush=True)
held = bytearray(1 << 20)
time.sleep(2)
while True:
    held += bytearray(8 << 20)
"""


def test_a_process_over_its_memory_limit_is_named_and_started_again(server: Server, ask: Ask) -> None:
    files = app(Procfile="web: python3 server.py\nworker: python3 worker.py\n", worker_py=GREEDY)
    server.push(Repository(server.data.parent / "greedy", files), "greedy")
    server.ssh("limits:set", "-a", "greedy", "worker=64M")
    server.ssh("ps:scale", "-a", "greedy", "worker=1")
    worker = eventually(
        lambda: next((p for p in ask("ps", "-a", "greedy", "worker") if p["restarts"]), None), limit=60
    )
    assert "out of memory" in worker["last_exit"]
    assert "ran out of memory; restarting" in server.ssh("logs", "greedy", "-s", "cygni").stdout
    assert "out of memory" in server.ssh("ps", "greedy", "worker").stdout
    server.ssh("apps:destroy", "-a", "greedy", "--confirm", "greedy")


# Releases and builds


def test_releases_are_listed_shown_and_compared(server: Server, clean: str, ask: Ask) -> None:
    before = live(ask)["version"]
    server.ssh("config:set", "-a", clean, "COMPARED=1")
    listed = server.ssh("releases", clean).stdout
    assert listed.startswith(f"=== shop Releases - Current: v{before + 1}\n\nVERSION  STATUS ")
    assert f"v{before + 1}  " in listed
    difference = ask("releases:diff", "-a", clean, f"v{before}")
    assert difference["config_added"] == ["COMPARED"]
    assert difference["commit"] is None
    assert "config_added: COMPARED" in re.sub(
        " +", " ", server.ssh("releases:diff", clean, f"v{before}").stdout
    )
    assert ask("releases:info", "-a", clean)["reason"] == "Set COMPARED"
    assert "web.1 is up" in server.ssh("releases:output", "-a", clean).stdout
    assert "Received" in server.ssh("releases:output", "-a", clean, "v1").stdout


def test_a_rollback_brings_code_and_config_back_as_a_new_release(server: Server, ask: Ask) -> None:
    work = Repository(server.data.parent / "backward", app())
    server.push(work, "backward")
    server.ssh("config:set", "-a", "backward", "A=1")
    work.commit({"server.py": says("two")})
    server.push(work, "backward")
    server.ssh("config:set", "-a", "backward", "A=2", "B=2")
    with Load(server, "backward") as load:
        done = server.ssh("rollback", "-a", "backward", "v2")
    assert load.failures == []
    assert "Rolling back backward to v2... done, v5\n" in done.stderr
    assert "To undo it: rollback -a backward v4" in done.stderr
    assert server.get("backward") == (200, "one v5")
    assert ask("config", "-a", "backward") == {"A": "1"}
    assert live(ask, "backward")["reason"] == "Rollback to v2"
    assert "runs now" in server.ssh("rollback", "-a", "backward", "v5", check=False).stderr
    server.ssh("rollback", "-a", "backward", "v4")
    assert server.get("backward") == (200, "two v6")
    server.ssh("apps:destroy", "-a", "backward", "--confirm", "backward")


def test_a_commit_is_built_again_without_a_push(server: Server, shop: str, ask: Ask) -> None:
    before = live(ask)["version"]
    fresh = server.ssh("builds:rebuild", shop, "--no-cache")
    assert "its image is used again" not in fresh.stderr
    assert fresh.stderr.endswith(f"Rebuilding shop... done, v{before + 1}\n")
    again = server.ssh("builds:rebuild", shop)
    assert "its image is used again" in again.stderr
    assert live(ask)["version"] == before + 2
    assert ask("builds", "-a", shop, "-n", "1")[0]["status"] == "succeeded"
    assert server.get(shop)[0] == 200


def test_a_pushed_commit_is_explained_without_building_it(server: Server, shop: str, ask: Ask) -> None:
    assert ask("builds:explain", "-a", shop)["provider"] == "python"
    assert "python" in server.ssh("build:explain", shop).stdout
