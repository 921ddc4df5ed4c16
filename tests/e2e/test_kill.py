"""The control plane is killed with SIGKILL at every stage of a push; apps serve on, the next server converges."""

import http.client
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import pytest
from apps import app, says
from tests_support import Load, Push, Repository, Server, eventually

pytestmark = [pytest.mark.docker, pytest.mark.kill]

Make = Callable[[Mapping[str, str]], Repository]


@contextmanager
def killed_while(
    server: Server, work: Repository, name: str, reached: Callable[[Push], object]
) -> Iterator[Push]:
    """Push under load, kill the server once `reached`, start it again; no request may fail meanwhile."""
    with Load(server, name) as load:
        push = Push(server, work, name)
        eventually(lambda: reached(push), 60)
        server.kill()
        assert push.code != 0
        server.start()
        yield push
    assert load.failures == []


def live_containers(server: Server, name: str) -> set[str]:
    return {c.labels["cygni.release"] for c in server.containers(name, everything=True)}


def assert_nothing_changed(server: Server, work: Repository, name: str, before: str) -> None:
    """v1 serves, the ref has not moved, nothing of the broken push is left, and the next push goes live."""
    assert server.get(name) == (200, "one v1")
    eventually(lambda: live_containers(server, name) == {"1"})
    remote = work.git("ls-remote", server.url(name), "refs/heads/main", env=server.push_environment()).stdout
    assert remote.split()[0] == before
    work.commit({"server.py": says("next"), "Procfile": app()["Procfile"]})
    server.push(work, name)
    assert server.get(name)[1].startswith("next ")


def pushed(server: Server, work: Repository, name: str) -> str:
    server.push(work, name)
    return work.head


def test_killed_while_receiving(own_server: Server, repository: Make) -> None:
    work = repository(app())
    before = pushed(own_server, work, "receive")
    (work.path / "big").write_bytes(os.urandom(60 << 20))
    work.commit({"server.py": says("two")})
    incoming = "repositories/*/objects/*incoming*"
    with killed_while(own_server, work, "receive", lambda _: list(own_server.data.glob(incoming))):
        pass
    work.git("reset", "-q", "--hard", before)
    assert_nothing_changed(own_server, work, "receive", before)


def test_killed_while_building(own_server: Server, repository: Make) -> None:
    work = repository(app())
    before = pushed(own_server, work, "build")
    slow = "FROM cygni-stack/debian-bookworm:run\nRUN echo started; sleep 20\n"
    work.commit({"Dockerfile": slow})
    with killed_while(own_server, work, "build", lambda push: "sleep 20" in push.output):
        pass
    eventually(lambda: "interrupted" in own_server.cygni("builds", "build").stdout)
    work.git("rm", "-q", "Dockerfile")
    assert_nothing_changed(own_server, work, "build", before)


def test_killed_in_the_release_phase(own_server: Server, repository: Make) -> None:
    work = repository(app())
    before = pushed(own_server, work, "phase")
    work.commit({"Procfile": "release: sh -c 'echo migrating; sleep 60'\n" + app()["Procfile"]})
    with killed_while(own_server, work, "phase", lambda push: "migrating" in push.output):
        pass
    eventually(lambda: "failed" in own_server.cygni("releases", "phase").stdout)
    assert_nothing_changed(own_server, work, "phase", before)


def test_killed_while_the_new_release_boots(own_server: Server, repository: Make) -> None:
    work = repository(app())
    before = pushed(own_server, work, "boot")
    work.commit({"server.py": "import time\nprint('booting', flush=True)\ntime.sleep(600)\n"})
    with killed_while(own_server, work, "boot", lambda _: "2" in live_containers(own_server, "boot")):
        pass
    assert_nothing_changed(own_server, work, "boot", before)


WAITS = (
    app()["server.py"]
    .replace(
        "        status =",
        "        if self.path == '/waits': print('asked to wait', flush=True); told.wait(120)\n        if self.path == '/tell': told.set()\n        status =",
    )
    .replace("import http.server", "import threading\ntold = threading.Event()\nimport http.server")
)
"""Answers /waits once it was told to."""


def test_killed_while_old_requests_drain(own_server: Server, repository: Make) -> None:
    """The request that was running is answered by the old release, which is gone afterwards."""
    work = repository(app(server_py=WAITS))
    pushed(own_server, work, "drain")
    answers: list[tuple[int, str]] = []
    slow = threading.Thread(target=lambda: answers.append(own_server.get("drain", "/waits", timeout=120)))
    slow.start()
    eventually(lambda: in_flight(own_server))
    old = address_of(own_server, "drain")
    work.commit({"server.py": WAITS.replace("one ", "two ")})
    own_server.push(work, "drain")
    assert own_server.get("drain") == (200, "two v2")
    assert live_containers(own_server, "drain") == {"1", "2"}
    own_server.kill()
    assert slow.is_alive()
    tell(old)
    own_server.start()
    slow.join(60)
    assert answers == [(200, "one v1")]
    assert own_server.get("drain") == (200, "two v2")
    eventually(lambda: live_containers(own_server, "drain") == {"2"})


def address_of(server: Server, name: str) -> tuple[str, int]:
    """Where the app's only instance listens."""
    (container,) = server.containers(name)
    networks = container.attrs["NetworkSettings"]["Networks"]
    port = next(word[5:] for word in container.attrs["Config"]["Env"] if word.startswith("PORT="))
    return next(iter(networks.values()))["IPAddress"], int(port)


def in_flight(server: Server) -> bool:
    """The waiting request has reached the app."""
    (container,) = server.containers("drain")
    return b"asked to wait" in container.logs()


def tell(address: tuple[str, int]) -> None:
    """End the waiting request, past the router, which knows the old instance no more."""
    connection = http.client.HTTPConnection(*address, timeout=10)
    connection.request("GET", "/tell")
    assert connection.getresponse().status == 200
    connection.close()


def test_killed_five_times_at_random_points(own_server: Server, repository: Make) -> None:
    """Whatever the moment, the app answers with one of the versions and the end state is one release."""
    import random

    work = repository(app())
    pushed(own_server, work, "chaos")
    dice = random.Random(7)
    with Load(own_server, "chaos") as load:
        for n in range(5):
            work.commit({"server.py": says(f"chaos{n}")})
            push = Push(own_server, work, "chaos")
            push.join(dice.uniform(0.1, 2.0))
            own_server.kill()
            push.code  # noqa: B018 - waits for its end
            own_server.start()
        work.commit({"server.py": says("settled")})
        own_server.push(work, "chaos")
    assert load.failures == []
    assert own_server.get("chaos")[1].startswith("settled ")
    eventually(lambda: len(live_containers(own_server, "chaos")) == 1)


def test_the_router_serves_while_no_control_plane_runs(own_server: Server, repository: Make) -> None:
    work = repository(app())
    pushed(own_server, work, "alone")
    own_server.kill()
    connection = http.client.HTTPConnection("127.0.0.1", own_server.ports["http_port"], timeout=5)
    for _ in range(20):
        connection.request("GET", "/", headers={"Host": "alone.localhost"})
        assert connection.getresponse().read() == b"one v1"
    connection.close()
    own_server.start()
    assert own_server.get("alone") == (200, "one v1")
