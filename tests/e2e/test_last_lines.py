"""What an instance prints last is in the app's log, however it ends."""

from collections.abc import Callable, Mapping

import pytest
from apps import app
from tests_support import Repository, Server, eventually

pytestmark = pytest.mark.docker

Make = Callable[[Mapping[str, str]], Repository]

LINES = 60_000
FAREWELL = f"""
import signal, sys, time
def end(*_):
    for number in range({LINES}):
        print("goodbye", number)
    print("the very last", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("working", flush=True)
while True:
    time.sleep(60)
"""


def lines(server: Server, name: str, process: str) -> list[str]:
    shown = server.ssh("logs", "-a", name, "-n", "10000", "-p", process).stdout
    return [line.partition("]: ")[2] for line in shown.splitlines()]


@pytest.mark.parametrize("words", [["ps:scale", "worker=0"], ["ps:restart"]])
def test_the_last_lines_of_a_stopped_instance_are_in_the_log(
    server: Server, repository: Make, words: list[str]
) -> None:
    name = words[0].replace(":", "-")
    files = app(Procfile="web: python3 server.py\nworker: python3 worker.py\n")
    server.push(repository({**files, "worker.py": FAREWELL}), name)
    server.ssh("ps:scale", "-a", name, "worker=1")
    before = {c.id for c in server.containers(name) if c.labels["cygni.process"] == "worker"}
    server.ssh(words[0], "-a", name, *words[1:])
    wait_until_gone(server, name, before)
    shown = lines(server, name, "worker")
    assert shown[-1] == "the very last"
    assert shown[-5000:-1] == [f"goodbye {number}" for number in range(LINES - 4999, LINES)]


def wait_until_gone(server: Server, name: str, ids: set[str | None]) -> None:
    eventually(lambda: not ids & {c.id for c in server.containers(name, everything=True)}, 60)


def test_the_output_of_a_release_that_ended_at_once_is_in_the_log(server: Server, repository: Make) -> None:
    """Gone before anybody began to follow it, and removed as soon as the push has failed."""
    work = repository(app())
    server.push(work, "tooquick")
    for attempt in range(3):
        work.commit({"server.py": f"raise SystemExit('attempt {attempt}: no such setting')\n"})
        assert server.push(work, "tooquick", check=False).returncode != 0
        shown = lines(server, "tooquick", "web")
        assert shown.count(f"attempt {attempt}: no such setting") >= 1
