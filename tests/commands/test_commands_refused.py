"""Bad input: what each command says, with which exit code; nothing is changed by any of it."""

import subprocess
import threading
from collections.abc import Callable
from typing import Any

import pytest
from tests_support import Completed, Repository, Server

LONG = "x" * 70_000

REFUSED: list[tuple[list[str], int, str]] = [
    # No such command, flag, app, word
    (["lgos"], 2, "Did you mean logs?"),
    (["config:ste", "-a", "shop", "A=1"], 2, "Did you mean config:set?"),
    (["logs", "-a", "shop", "--tial"], 2, "Did you mean --tail?"),
    (["logs"], 2, "Which app? Name it with -a APP"),
    (["logs", "-a", "absent"], 1, "There is no app absent that you may use"),
    (["config:set", "-a", "absent", "A=1"], 1, "There is no app absent that you may use"),
    (["logs", "-a", "'../../etc'"], 1, "There is no app ../../etc that you may use"),
    (["apps", "extra"], 2, "one word too many"),
    (["config:get", "-a", "shop"], 2, "NAME is missing"),
    (["'config:set"], 2, "Check its quotes"),
    (["help", "lgos"], 1, "Did you mean logs?"),
    # apps
    (["apps:create", "Bad_Name"], 1, "cannot be an app's name"),
    (["apps:create", "shop"], 1, "The name shop is taken"),
    (["apps:rename", "-a", "shop", "9lives"], 1, "cannot be an app's name"),
    (["apps:rename", "-a", "shop", "shop"], 1, "named shop already"),
    (["apps:destroy", "-a", "shop"], 1, "--confirm shop"),
    (["apps:destroy", "-a", "shop", "--confirm", "sohp"], 1, "--confirm shop"),
    (["apps:unlock", "-a", "shop"], 1, "not locked"),
    # config
    (["config:set", "-a", "shop", "FOO"], 1, "FOO is invalid. Must be in the format FOO=bar."),
    (["config:set", "-a", "shop", "1A=b"], 1, "'1A' cannot be a config name"),
    (["config:set", "-a", "shop", "=b"], 1, "'' cannot be a config name"),
    (["config:set", "-a", "shop", "A-B=c"], 1, "cannot be a config name"),
    (["config:set", "-a", "shop", "PORT=1"], 1, "set by the platform"),
    (["config:set", "-a", "shop", "CYGNI_APP=x"], 1, "set by the platform"),
    (["config:set", "-a", "shop"], 1, "Nothing to set"),
    (["config:set", "-a", "shop", f"A={LONG}"], 1, "A command line may have 65536 bytes"),
    (["config:unset", "-a", "shop", "ABSENT"], 1, "no config var ABSENT"),
    (["config:unset", "-a", "shop"], 1, "Nothing to unset"),
    (["config:get", "-a", "shop", "ABSENT"], 1, "no config var ABSENT"),
    (["config:edit", "-a", "shop"], 1, "runs on your laptop"),
    # ps, limits, health
    (["ps:scale", "-a", "shop", "wbe=1"], 1, "There is no process type wbe. This release has: web, worker."),
    (["ps:scale", "-a", "shop", "web=-1"], 1, "Must be in the format web=2"),
    (["ps:scale", "-a", "shop", "web=10000"], 1, "give 0 to 100"),
    (["ps:scale", "-a", "shop", "web-50"], 1, "give 0 to 100"),
    (["ps:scale", "-a", "shop", "web=two"], 1, "Must be in the format web=2"),
    (["ps:stop", "-a", "shop", "wbe"], 1, "There is no process type wbe"),
    (["ps:start", "-a", "shop"], 1, "is stopped"),
    (["ps:wait", "-a", "shop", "--timeout", "0"], 2, "whole number from 1 to 7200"),
    (["ps:resize", "-a", "shop", "web=huge"], 1, "Must be in the format web=512M"),
    (["ps:resize", "-a", "shop", "web=1B"], 1, "Must be in the format web=512M"),
    (["ps:resize", "-a", "shop", "web=512M:0"], 1, "Must be in the format web=512M"),
    (["limits:set", "-a", "shop", "wbe=512M"], 1, "There is no process type wbe"),
    (["health:set", "-a", "shop", "path=up"], 1, "path=up is invalid"),
    (["health:set", "-a", "shop", "boot-timeout=nan"], 1, "boot-timeout=nan is invalid"),
    (["health:set", "-a", "shop", "probe-timeout=301"], 1, "1 to 300 seconds"),
    (["health:set", "-a", "shop"], 1, "Nothing to set"),
    (["git:set", "-a", "shop", "deploy-branch=../main"], 1, "deploy-branch=../main is invalid"),
    (["git:set", "-a", "shop", "deploy-branch=a/.b"], 1, "Must be deploy-branch=NAME"),
    (["git:set", "-a", "shop", "branch=main"], 1, "Must be deploy-branch=NAME"),
    # releases, builds
    (["releases", "-a", "shop", "-n", "0"], 2, "whole number from 1 to 1000"),
    (["releases:info", "-a", "shop", "latest"], 1, "Write it as v7"),
    (["releases:info", "-a", "shop", "v999"], 1, "shop has no release v999"),
    (["releases:diff", "-a", "shop", "v1", "v999"], 1, "shop has no release v999"),
    (["releases:output", "-a", "shop", "v999"], 1, "shop has no release v999"),
    (["rollback", "-a", "shop", "v999"], 1, "shop has no release v999"),
    (["rollback", "-a", "blank"], 1, "blank has no earlier release"),
    (["releases:info", "-a", "blank"], 1, "blank has no release yet"),
    (["ps:restart", "-a", "blank"], 1, "blank has no release yet"),
    (["builds:output", "-a", "blank"], 1, "blank has no builds yet"),
    (["builds:rebuild", "-a", "blank"], 1, "blank has no builds yet"),
    (["builds:explain", "-a", "blank"], 1, "blank has no builds yet"),
    (["builds:info", "-a", "shop", "999"], 1, "shop has no build 999"),
    (["builds:info", "-a", "shop", "one"], 2, "whole number"),
    (["builds:cancel", "-a", "shop"], 1, "is not running any more"),
    # logs
    (["logs", "-a", "shop", "--since", "yesterday"], 1, "'yesterday' is no time"),
    (["logs", "-a", "shop", "--since", "999999d"], 1, "is no time"),
    (["logs", "-a", "shop", "--since", "1h", "--until", "2h"], 1, "--until is before --since"),
    (["logs", "-a", "shop", "-t", "--until", "1h"], 1, "use one of them"),
    (["logs", "-a", "shop", "-n", "10001"], 2, "whole number from 0 to 10000"),
    # people
    (["keys:add", "laptop"], 1, "not a usable public key"),
    (["keys:add", "'no good'"], 1, "cannot be a key's or user's name"),
    (["keys:remove", "absent"], 1, "There is no key absent"),
    (["keys:remove", "tester"], 1, "No server admin with a key would be left"),
    (["access:add", "-a", "shop", "nobody"], 1, "There is no user nobody"),
    (["access:add", "-a", "shop", "tester", "--role", "boss"], 1, "There is no role boss"),
    (["access:remove", "-a", "blank", "operator"], 1, "operator has no role on blank"),
    (["users:admin", "tester", "--remove"], 1, "No server admin with a key would be left"),
    (["users:remove", "nobody"], 1, "There is no user nobody"),
    # what a laptop does
    (["init"], 1, "runs on your laptop"),
    (["completion", "tcsh"], 1, "Known shells: bash, zsh, fish"),
]  # fmt: skip


@pytest.fixture(scope="module")
def blank(server: Server) -> str:
    """An app without a release."""
    server.ssh("apps:create", "blank")
    return "blank"


@pytest.mark.parametrize(("words", "code", "said"), REFUSED, ids=lambda item: str(item)[:60])
def test_nonsense_is_refused_with_its_reason(
    server: Server, shop: str, blank: str, words: list[str], code: int, said: str
) -> None:
    done = server.ssh(*words, check=False)
    assert (done.returncode, done.stdout) == (code, ""), done.stderr
    assert said in done.stderr
    assert all(line.startswith(" !     ") for line in done.stderr.splitlines()), done.stderr


def raw(server: Server, line: bytes, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """A command line as bytes, which need not be text."""
    words = ["ssh", *server.ssh_options(), "-p", str(server.ports["ssh_port"]), "cygni@127.0.0.1"]
    return subprocess.run([*words, line], input=data, capture_output=True, check=False, timeout=60)


def test_a_command_line_that_is_no_text_is_refused(server: Server, shop: str) -> None:
    done = raw(server, b"config:set -a shop A=\xff\xfe")
    assert done.returncode != 0
    assert b"A" not in raw(server, b"config:keys -a shop").stdout.splitlines()


IMPORTS: list[tuple[bytes, str]] = [
    (b"", "Standard input is empty"),
    (b"  \n", "Standard input is empty"),
    (b"\xff\xfe\x00", "no UTF-8 text"),
    (b"A=1\nwhat is this\n", "Line 2 is not NAME=value"),
    (b"A=1\nB='open\n\n", "Line 2 opens a quote that is never closed"),
    (b"A='x' y\n", "Line 1 goes on behind its closing quote"),
    (b'{"A": 1}', "The value of A is no string"),
    (b'{"A": "1"', "This is no JSON"),
    (b'{"A\\u0000": "1"}', "cannot be a config name"),
    (b'{"A": "x\\u0000"}', "holds a NUL byte"),
    (b"1A=b\n", "cannot be a config name"),
    (b"A=" + b"x" * 70_000, "The value of A is longer than 65,536 bytes"),
    (b"".join(b"A%d=%s\n" % (n, b"x" * 60_000) for n in range(6)), "may have 262,144 bytes together"),
    (b"A=" + b"x" * (2 << 20), "Standard input may have 1,048,576 bytes"),
]


@pytest.mark.parametrize(("data", "said"), IMPORTS, ids=lambda item: str(item)[:30])
def test_a_config_file_that_is_none_changes_nothing(
    server: Server, shop: str, data: bytes, said: str
) -> None:
    before = raw(server, b"config:export -a shop").stdout
    done = raw(server, b"config:import -a shop", data)
    assert done.returncode == 1
    assert said in done.stderr.decode()
    assert raw(server, b"config:export -a shop").stdout == before


def test_newlines_and_escapes_in_a_value_are_kept_and_never_reach_a_terminal(
    server: Server, shop: str
) -> None:
    value = "one\ntwo\x1b[2J"
    server.ssh("config:set", "-a", shop, "--no-restart", f"'NASTY={value}'")
    assert server.ssh("config:get", "-a", shop, "NASTY").stdout == f"{value}\n"
    assert "NASTY: one\\ntwo\\x1b[2J\n" in server.ssh("config", shop).stdout
    server.ssh("config:unset", "-a", shop, "--no-restart", "NASTY")


def test_a_release_that_failed_is_no_goal_of_a_rollback(server: Server, ask: Callable[..., Any]) -> None:
    program = '{"bind": "nothing"}'
    work = Repository(server.data.parent / "failing", {"Procfile": "web: x\n", "requirements.txt": ""})
    server.push(work, "failing")
    server.ssh("health:set", "-a", "failing", "boot-timeout=1")
    work.commit({"cygni-memory.json": program})
    assert server.push(work, "failing", check=False).returncode != 0
    refused = server.ssh("rollback", "-a", "failing", "v2", check=False)
    assert refused.returncode == 1
    assert "v2 never went live" in refused.stderr


def test_two_conflicting_changes_at_once_are_both_made_and_one_stays(
    server: Server, shop: str, ask: Callable[..., Any]
) -> None:
    done: list[Completed] = []
    work = [
        ("config:set", "-a", shop, "WHO=ann"),
        ("config:set", "-a", shop, "WHO=bob"),
        ("ps:scale", "-a", shop, "worker=2"),
        ("ps:scale", "-a", shop, "worker=0"),
    ]
    threads = [threading.Thread(target=lambda words=words: done.append(server.ssh(*words))) for words in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [item.returncode for item in done] == [0] * 4
    server.ssh("ps:wait", "-a", shop)
    assert ask("config", "-a", shop)["WHO"] in {"ann", "bob"}
    count = ask("ps:scale", "-a", shop)["worker"]
    assert count in {0, 2}
    assert len([p for p in ask("ps", "-a", shop, "worker") if p["state"] == "running"]) == count
    server.ssh("ps:scale", "-a", shop, "worker=0")
    server.ssh("config:unset", "-a", shop, "WHO")


def test_one_type_is_restarted_alone_and_the_log_says_by_whom(
    server: Server, shop: str, ask: Callable[..., Any]
) -> None:
    server.ssh("ps:scale", "-a", shop, "worker=1")
    before = {p["name"]: p["since"] for p in ask("ps", "-a", shop)}
    assert server.ssh("ps:restart", shop, "worker").stderr.endswith("Restarting worker of shop... done\n")
    after = {p["name"]: p["since"] for p in ask("ps", "-a", shop) if p["since"] != before["worker.1"]}
    assert after["web.1"] == before["web.1"]
    assert after["worker.1"] > before["worker.1"]
    assert "worker restarted by tester" in server.ssh("logs", shop, "-s", "cygni").stdout
    server.ssh("ps:scale", "-a", shop, "worker=0")
