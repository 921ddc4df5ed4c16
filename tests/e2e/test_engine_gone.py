"""The container engine stops, before a push or in the middle of one, and comes back."""

import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from apps import app, says
from engine_gate import EngineGate
from tests_support import (
    Load,
    Push,
    Repository,
    Server,
    command_lines,
    eventually,
    free_subnet,
    running_server,
)

pytestmark = pytest.mark.docker

Make = Callable[[Mapping[str, str]], Repository]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[EngineGate]:
    with EngineGate(tmp_path / "engine.sock") as opened:
        yield opened


@pytest.fixture
def gated(tmp_path: Path, gate: EngineGate) -> Iterator[Server]:
    """A server that reaches the engine through the gate only."""
    with running_server(tmp_path, network=free_subnet(), docker_socket=str(gate.path)) as made:
        yield made


def text_of(output: str) -> str:
    return re.sub(r"remote: ?", "", output)


def assert_explained(output: str, name: str) -> None:
    """What happened, what it means for what runs, what to do."""
    text = text_of(output)
    assert "The container engine does not answer" in text
    assert "what runs goes on" in text
    assert "`systemctl start docker`; then push again" in text
    assert f"Push rejected to {name}." in text


def assert_as_before(server: Server, work: Repository, name: str, before: str) -> None:
    remote = work.git("ls-remote", server.url(name), "refs/heads/main", env=server.push_environment()).stdout
    assert remote.split()[0] == before
    eventually(lambda: {c.labels["cygni.release"] for c in server.containers(name, everything=True)} == {"1"})


def test_a_push_while_the_engine_is_down(gated: Server, gate: EngineGate, repository: Make) -> None:
    work = repository(app())
    gated.push(work, "down")
    before = work.head
    work.commit({"server.py": says("two")})
    with Load(gated, "down") as load:
        gate.shut()
        refused = gated.push(work, "down", check=False)
        assert refused.returncode != 0
        assert_explained(refused.stderr, "down")
        listed = gated.cygni("builds", "down").stdout
        assert "the container engine does not answer" in listed
        gate.open()
        assert_as_before(gated, work, "down", before)
        gated.push(work, "down")
    assert load.failures == []
    assert gated.get("down")[1].startswith("two ")


def test_the_engine_goes_down_in_the_middle_of_a_build(
    gated: Server, gate: EngineGate, repository: Make, tmp_path: Path
) -> None:
    work = repository(app())
    gated.push(work, "midbuild")
    before = work.head
    marker = tmp_path.name + "-midbuild"
    slow = f"FROM cygni-stack/debian-bookworm:run\nRUN echo up; sleep 300; : {marker}\n"
    work.commit({"Dockerfile": slow})
    with Load(gated, "midbuild") as load:
        push = Push(gated, work, "midbuild")
        eventually(lambda: re.search(r"^remote: +up\b", push.output, re.MULTILINE), 60)
        assert command_lines(marker)
        gate.shut()
        assert push.code != 0
        assert_explained(push.output, "midbuild")
        eventually(lambda: not command_lines(marker))
        gate.open()
        assert_as_before(gated, work, "midbuild", before)
        work.git("rm", "-q", "Dockerfile")
        work.commit({"server.py": says("two")})
        gated.push(work, "midbuild")
    assert load.failures == []
    assert gated.get("midbuild")[1].startswith("two ")


def test_the_engine_goes_down_while_the_new_release_boots(
    gated: Server, gate: EngineGate, repository: Make
) -> None:
    work = repository(app())
    gated.push(work, "midboot")
    before = work.head
    work.commit({"server.py": "import time\ntime.sleep(600)\n"})

    def releases() -> set[str]:
        return {c.labels["cygni.release"] for c in gated.containers("midboot")}

    with Load(gated, "midboot") as load:
        push = Push(gated, work, "midboot")
        eventually(lambda: releases() == {"1", "2"}, 60)
        gate.shut()
        assert push.code != 0
        text = text_of(push.output)
        assert "Release v2 failed in the boot of its processes" in text
        assert "the engine does not answer: its socket is not there" in text or "the connection broke" in text
        assert "The container engine had a problem" in text
        assert "v1 goes on serving" in text
        gate.open()
        assert_as_before(gated, work, "midboot", before)
    assert load.failures == []


@pytest.mark.parametrize(
    "words", [["ps"], ["ps:restart"], ["ps:scale", "web=2"], ["config:set", "COLOUR=red"], ["rollback", "v1"]]
)
def test_commands_say_that_the_engine_is_down(
    gated: Server, gate: EngineGate, repository: Make, words: list[str]
) -> None:
    gated.push(repository(app()), "commands")
    gated.ssh("config:set", "-a", "commands", "COLOUR=green")
    gate.shut()
    done = gated.ssh(words[0], "-a", "commands", *words[1:], check=False)
    assert done.returncode != 0
    assert "engine" in done.stderr
    assert re.search(r"[Tt]ry(ing)? again", done.stderr), done.stderr
    assert not re.search(r"Something went wrong|\w+Error\b", done.stderr), done.stderr
    assert gated.get("commands") == (200, "one v2")
    gate.open()


def test_a_server_that_starts_while_the_engine_is_down_serves_what_runs(
    gated: Server, gate: EngineGate, repository: Make
) -> None:
    work = repository(app())
    gated.push(work, "startdown")
    gated.kill()
    gate.shut()
    gated.start()
    assert gated.get("startdown") == (200, "one v1")
    gate.open()
    work.commit({"server.py": says("two")})
    gated.push(work, "startdown")
    assert gated.get("startdown")[1].startswith("two ")
