"""`kill -9` of a real server at random instants of a mixed load by real git and ssh clients, on the real engine."""

import asyncio
import json
import os
import random
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import IPv4Network
from pathlib import Path

import docker
import pytest
from apps import app, says
from invariants import View, always, settled
from tests_support import Repository, Server, eventually, free_subnet, running_server

from cygni.store import Store
from deployer.docker import DockerEngine
from router import feed
from router.table import AppRoute

pytestmark = [pytest.mark.docker, pytest.mark.kill]

SECONDS = float(os.environ.get("CHAOS_SECONDS", "60"))
SEED = os.environ.get("CHAOS_SEED", "")
NAMES = ("shop", "blog")
CONVERGED = 60


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with running_server(tmp_path, network=free_subnet(), drain_timeout="2") as made:
        yield made


class Person(threading.Thread):
    """Does one thing after the other with one app, and remembers what was acknowledged."""

    def __init__(self, server: Server, work: Repository, name: str, dice: random.Random) -> None:
        super().__init__()
        self.server, self.work, self.app, self.dice = server, work, name, dice
        self.counts: Counter[str] = Counter()
        self.config: set[str] = {""}
        """What the variable may be: the acknowledged value, and what was asked for since."""
        self.quantity: set[str] = {"1"}
        self.version = 0
        self.commits: dict[int, str] = {}
        self.values: list[str] = []
        self.over = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        actions: list[Callable[[], None]] = [
            self.push,
            self.set,
            self.set,
            self.scale,
            self.roll_back,
            self.one_off,
        ]
        try:
            while not self.over.is_set():
                action = self.dice.choice(actions)
                self.counts[action.__name__] += 1
                refused = self.counts["refused"]
                action()
                if self.counts["refused"] > refused:  # most likely there is no server just now
                    self.over.wait(0.3)
        except BaseException as error:
            self.error = error

    def push(self) -> None:
        self.counts["number"] += 1
        commit = self.work.commit({"server.py": says(f"{self.app}{self.counts['number']}")})
        done = self.server.push(self.work, self.app, "--force", check=False)
        if self.told(done.returncode):
            version = int(done.stderr.rpartition("Released v")[2].split()[0])
            self.commits[version] = commit
            self.version = max(self.version, version)

    def set(self) -> None:
        value = f"plain-{self.dice.getrandbits(64):016x}"
        self.values.append(value)
        self.config.add(value)
        if self.told(self.server.ssh("config:set", "-a", self.app, f"ALPHA={value}", check=False).returncode):
            self.config = {value}

    def scale(self) -> None:
        count = self.dice.choice("0123")
        self.quantity.add(count)
        if self.told(self.server.ssh("ps:scale", "-a", self.app, f"web={count}", check=False).returncode):
            self.quantity = {count}

    def roll_back(self) -> None:
        """Its config may be any that a release had, until the next one is set."""
        done = self.server.ssh("rollback", "-a", self.app, check=False)
        self.config |= {"", *self.values}
        self.told(done.returncode)

    def one_off(self) -> None:
        done = self.server.ssh("run", "-a", self.app, "--", "echo", "one", "off", check=False)
        if self.told(done.returncode):
            assert "one off" in done.stdout

    def told(self, code: int) -> bool:
        self.counts["acknowledged" if code == 0 else "refused"] += 1
        return code == 0


def routes(server: Server) -> dict[str, AppRoute]:
    table = feed.decode((server.data / "router-table.json").read_bytes())
    assert isinstance(table, feed.Snapshot)
    return {route.app_id: route for route in table.routes}


def open_jobs(server: Server) -> list[tuple[str, str, str]]:
    with closing(sqlite3.connect(server.data / "cygni.db")) as database:
        query = "SELECT app_id, lane, status FROM jobs WHERE status IN ('queued', 'running')"
        return list(database.execute(query))


def has_image(name: str) -> bool:
    with closing(docker.from_env()) as client:
        return bool(client.images.list(filters={"reference": name})) or _inspected(client, name)


def _inspected(client: docker.DockerClient, name: str) -> bool:
    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        return False
    return True


async def broken(server: Server, values: list[str], *, at_peace: bool) -> list[str]:
    """Look at the engine, the router's table and the database from outside of the server."""
    store = await Store.open(f"sqlite:///{server.data / 'cygni.db'}", server.data / "secret.key")
    engine = DockerEngine(
        Path("/var/run/docker.sock"), server.identity, IPv4Network(server.settings["CYGNI_NETWORK"])
    )

    async def image(name: str) -> bool:
        return has_image(name)

    async def jobs() -> list[tuple[str, str, str]]:
        return open_jobs(server)

    view = View(
        store=store, data=server.data, instances=engine.list, routes=lambda: routes(server), has_image=image,
        open_jobs=jobs, secrets=lambda: values,
    )  # fmt: skip
    try:
        return await (settled(view) if at_peace else always(view))
    finally:
        await engine.close()
        await store.close()


def violations(server: Server, people: list[Person], *, at_peace: bool) -> list[str]:
    values = [value for person in people for value in person.values]
    with asyncio.Runner() as runner:
        return runner.run(broken(server, values, at_peace=at_peace))


def kept(person: Person) -> Iterator[str]:
    """Sentences about what was acknowledged and is not there."""
    server, name = person.server, person.app
    config = json.loads(server.ssh("config", "-a", name, "--json").stdout)
    if config.get("ALPHA", "") not in person.config:
        yield f"{name}: ALPHA is {config.get('ALPHA')!r} and should be one of {person.config}"
    formation = json.loads(server.ssh("ps:scale", "-a", name, "--json").stdout)
    if str(formation["web"]) not in person.quantity:
        yield f"{name}: web={formation['web']} and should be one of {person.quantity}"
    releases = {
        item["version"]: item
        for item in json.loads(server.ssh("releases", "-a", name, "-n", "1000", "--json").stdout)
    }
    for version, commit in person.commits.items():
        if releases[version]["commit"] != commit or releases[version]["status"] not in {"live", "retired"}:
            yield f"{name} v{version} of {commit} was acknowledged and is {releases[version]}"
    live = max((version for version, item in releases.items() if item["status"] == "live"), default=0)
    if live < person.version:
        yield f"{name} v{person.version} was acknowledged, and v{live} is live"


def test_a_real_server_that_is_killed_at_random_keeps_its_word(server: Server, tmp_path: Path) -> None:
    """`CHAOS_SEED=N` decides who does what and when the server is killed; what happens in between is up to the machine."""
    seed = SEED or str(random.SystemRandom().randrange(10**9))
    dice = random.Random(seed)
    people = [
        Person(server, Repository(tmp_path / f"work-{name}", app()), name, random.Random(f"{seed}/{name}"))
        for name in NAMES
    ]
    for person in people:
        person.push()
        assert person.version == 1
    kills, until = 0, time.monotonic() + SECONDS
    for person in people:
        person.start()
    try:
        while time.monotonic() < until:
            people[0].over.wait(dice.choice((0.5, 3, 8, 12)) * dice.random())
            server.kill()
            kills += 1
            server.start()
            assert violations(server, people, at_peace=False) == []
    finally:
        for person in people:
            person.over.set()
        for person in people:
            person.join(120)
        counts = sum((person.counts for person in people), Counter[str]())
        print(f"CHAOS_SEED={seed}, {kills} kills, {json.dumps(dict(sorted(counts.items())))}")
    assert [person.error for person in people] == [None, None]
    found: list[str] = []

    def at_peace() -> bool:
        found[:] = violations(server, people, at_peace=True)
        return not found

    try:
        eventually(at_peace, CONVERGED, every=1)
    except AssertionError:
        pytest.fail(f"CHAOS_SEED={seed}:\n" + "\n".join(found), pytrace=False)
    assert [text for person in people for text in kept(person)] == []
    assert counts["acknowledged"] > 0
