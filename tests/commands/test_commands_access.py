"""Who may do what, what the refused are told, and what the audit trail keeps of it."""

import json
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from apps import app
from tests_support import Completed, Repository, Server, eventually, make_key

from cygni.commands import registry
from cygni.commands.rate import CommandRate
from cygni.commands.registry import Access
from cygni.domain.models import Role

Person = Callable[..., Completed]
People = Callable[[str], Person]
Ask = Callable[..., Any]


@pytest.fixture
def with_role(server: Server, shop: str, person: People) -> Iterator[Callable[[str], Person]]:
    """A person with this role on the shop, who loses it afterwards."""
    given: list[str] = []

    def make(role: str) -> Person:
        name = f"the-{role}"
        someone = person(name)
        server.ssh("access:add", "-a", shop, name, "--role", role)
        given.append(name)
        return someone

    yield make
    for name in given:
        server.ssh("access:remove", "-a", shop, name, check=False)


MAY = {
    Role.VIEWER: ["ps", "-a", "shop"],
    Role.DEPLOYER: ["config:set", "-a", "shop", "--no-restart", "ROLE=1"],
    Role.ADMIN: ["access:add", "-a", "shop", "the-viewer", "--role", "viewer"],
    Role.OWNER: ["access:add", "-a", "shop", "the-viewer", "--role", "owner"],
}


@pytest.mark.parametrize("has", list(Role))
def test_each_role_may_what_is_its_own_and_all_below(
    server: Server, with_role: Callable[[str], Person], person: People, has: Role
) -> None:
    person("the-viewer")
    someone = with_role(has)
    for needed, words in MAY.items():
        done = someone(*words, check=False)
        if has.rank >= needed.rank:
            assert done.returncode == 0, (words, done.stderr)
        else:
            assert done.returncode == 1
            first = min(
                needed, Role.ADMIN if has.rank < Role.ADMIN.rank else needed, key=lambda role: role.rank
            )
            assert f"This needs the role {first} on shop; you are {has}." in done.stderr
    server.ssh("access:remove", "-a", "shop", "the-viewer", check=False)
    server.ssh("config:unset", "-a", "shop", "--no-restart", "ROLE", check=False)


def test_absent_and_not_yours_look_the_same_for_every_command(
    server: Server, shop: str, person: People
) -> None:
    stranger = person("stranger")
    for command in registry:
        if not command.takes_app or command.laptop:
            continue
        arguments = ["A=1"] if command.name in {"config:set", "limits:set"} else []
        arguments += ["v1"] if command.name == "releases:diff" else []
        arguments += ["x"] if [a for a in command.arguments if a.required] and not arguments else []
        told = [stranger(command.name, "-a", name, *arguments, check=False) for name in ("shop", "absent")]
        assert {done.returncode for done in told} == {1}, command.name
        assert told[0].stdout == told[1].stdout == ""
        assert told[0].stderr.replace("shop", "absent") == told[1].stderr, command.name
    url = [server.url(name) for name in ("shop", "absent")]
    for verb in ("clone", "push"):
        said = []
        for one in url:
            work = Repository(server.data.parent / f"{verb}-{one[-4:]}", app())
            words = ["clone", "-q", one, "x"] if verb == "clone" else ["push", one, "main"]
            key = server.data.parent / "stranger"
            if not key.exists():
                make_key(key)
                server.cygni(
                    "keys:add", "outsider", "--user", "stranger", input=key.with_suffix(".pub").read_text()
                )
            said.append(work.git(*words, env=server.push_environment(key), check=False).stderr)
        assert "that you may use" in said[0]
        assert said[0].replace("shop", "absent") == said[1]


def test_server_commands_are_for_server_admins(server: Server, person: People) -> None:
    stranger = person("stranger")
    for command in registry:
        if command.access is not Access.SERVER_ADMIN:
            continue
        arguments = ["x"] if command.arguments else []
        refused = stranger(command.name, *arguments, check=False)
        assert refused.returncode == 1
        assert "This needs a server admin" in refused.stderr
    assert stranger("events", check=False).returncode == 1
    assert stranger("keys", "--all", check=False).returncode == 1
    assert stranger("apps").stderr.startswith("No apps yet")


def test_people_manage_their_own_keys_and_nobody_elses(server: Server, person: People, tmp_path: Any) -> None:
    ann, bob = person("ann"), person("bob")
    second = make_key(tmp_path / "second")
    public = second.with_suffix(".pub").read_text()
    assert ann("keys:add", "tablet", input=public).stderr == "Adding key tablet for ann... done\n"
    assert "already registered" in bob("keys:add", "tablet", input=public, check=False).stderr
    assert "server admin" in bob("keys:add", "x", "--user", "ann", input=public, check=False).stderr
    listed = json.loads(ann("keys", "--json").stdout)
    assert [key["name"] for key in listed] == ["ann", "tablet"]
    assert listed[0]["last_used_at"] is not None
    assert listed[1]["last_used_at"] is None
    assert "There is no key tablet" in bob("keys:remove", "tablet", check=False).stderr
    assert server.ssh("apps", key=second).returncode == 0
    ann("keys:remove", "tablet")
    gone = server.ssh("apps", key=second, check=False)
    assert gone.returncode != 0
    assert "Permission denied" in gone.stderr or "no longer accepted" in gone.stderr


def test_an_app_keeps_an_owner_and_only_owners_make_owners(
    server: Server, shop: str, with_role: Callable[[str], Person]
) -> None:
    admin = with_role("admin")
    assert "An app needs an owner" in server.ssh("access:remove", "-a", shop, "tester", check=False).stderr
    refused = admin("access:remove", "-a", shop, "tester", check=False)
    assert "needs the role owner" in refused.stderr
    assert "the-admin  admin" in server.ssh("access", shop).stdout


def test_a_lost_key_is_replaced_on_the_servers_own_shell(server: Server, tmp_path: Any) -> None:
    """What docs/how-to/people.md says: no key at all is needed there."""
    fresh = make_key(tmp_path / "fresh")
    server.cygni("keys:add", "fresh", "--user", "tester", input=fresh.with_suffix(".pub").read_text())
    assert server.ssh("apps", key=fresh).returncode == 0
    server.cygni("keys:remove", "fresh")


# The audit trail


def newest(ask: Ask, action: str) -> dict[str, Any]:
    return next(event for event in ask("events", "-n", "300") if event["action"] == action)


def test_changes_and_secret_reads_are_audited_with_place_and_result(
    server: Server, shop: str, ask: Ask
) -> None:
    server.ssh("config:set", "-a", shop, "SECRET=hunter2-value")
    server.ssh("config:get", "-a", shop, "SECRET")
    server.ssh("rollback", "-a", shop, "v999", check=False)
    set_, read = newest(ask, "config:set"), newest(ask, "config:get")
    assert (set_["who"], set_["app"], set_["from"]) == ("tester", "shop", "127.0.0.1")
    assert (set_["about"], set_["result"]) == ("SECRET", "done")
    assert (read["about"], read["result"]) == ("read SECRET", "done")
    assert newest(ask, "rollback")["result"] == "failed"
    assert "hunter2-value" not in json.dumps(ask("events", "-n", "300"))
    pushed = [event for event in ask("events", "-a", shop, "-n", "1000") if event["action"] == "push"]
    assert pushed[-1]["result"] == "done"
    server.cygni("apps:lock", shop)
    assert "locked by operator" in server.ssh("ps:restart", shop, check=False).stderr
    server.cygni("apps:unlock", shop)
    assert (newest(ask, "apps:lock")["from"], newest(ask, "ps:restart")["result"]) == (None, "refused")
    server.ssh("config:unset", "-a", shop, "SECRET")


def test_what_was_refused_is_audited_and_shown_to_the_owner(
    server: Server, shop: str, person: People, ask: Ask
) -> None:
    person("stranger")("config", "-a", shop, check=False)
    person("stranger")("apps:create", "mine", check=False)
    refused = [e for e in ask("events", "--who", "stranger") if e["result"] == "refused"]
    assert {"config", "apps:create"} <= {event["action"] for event in refused}
    assert next(e for e in refused if e["action"] == "config")["about"] == "shop"


def test_a_client_that_leaves_is_noted_and_the_change_goes_on(server: Server, shop: str, ask: Ask) -> None:
    server.push(
        Repository(server.data.parent / "slow", {**app(), "cygni-memory.json": '{"bind_after": 4}'}), "slow"
    )
    words = ["ssh", *server.ssh_options(), "-p", str(server.ports["ssh_port"]), "cygni@127.0.0.1"]
    client = subprocess.Popen([*words, "config:set -a slow LEFT=1"], stderr=subprocess.PIPE)
    assert client.stderr is not None
    assert client.stderr.readline()
    client.terminate()
    client.wait(10)
    client.stderr.close()
    eventually(lambda: newest(ask, "config:set")["result"] == "client left")
    eventually(lambda: ask("apps:info", "-a", "slow")["release"] == 2)
    assert ask("releases:info", "-a", "slow")["config"] == ["LEFT"]
    server.ssh("apps:destroy", "-a", "slow", "--confirm", "slow")


def test_no_command_alters_the_audit_trail(server: Server, ask: Ask) -> None:
    before = ask("events", "-n", "1000")
    with sqlite3.connect(server.data / "cygni.db") as database, pytest.raises(sqlite3.IntegrityError):
        database.execute("DELETE FROM events")
    database.close()
    assert ask("events", "-n", "1000")[-1] == before[-1]


def test_every_change_is_declared_as_audited() -> None:
    looks = {c.name for c in registry if not c.audited}
    assert not looks & {
        name
        for name in registry.commands
        if name.rpartition(":")[2]
        in {"set", "unset", "import", "add", "remove", "create", "destroy", "rename", "lock", "unlock", "scale",
            "restart", "stop", "start", "cancel", "rebuild", "rollback", "get", "export", "admin"}
    }  # fmt: skip


# Rates


def test_a_burst_of_commands_is_allowed_and_refills() -> None:
    now = [0.0]
    rate = CommandRate(burst=3, per_second=2, clock=lambda: now[0])
    assert [rate.take("ann") for _ in range(4)] == [0, 0, 0, 0.5]
    assert rate.take("bob") == 0
    now[0] += 0.5
    assert rate.take("ann") == 0
    assert rate.take("ann") == 0.5
