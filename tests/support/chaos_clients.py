"""People who use the platform all at once, and what goes wrong meanwhile; the dice decide who does what."""

import asyncio
import json
import random
import re
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from apps import app as files_of_app
from chaos_model import Model, Write
from chaos_world import World

from cygni.commands import Context, dispatch, registry
from cygni.domain.errors import ConflictError, CygniError
from cygni.domain.models import App, Job, JobStatus, ReleaseStatus, User
from gitserver import repository
from gitserver.git import GitError
from gitserver.ports import Principal, Refused

NAMES = ("shop", "blog", "mail")
VARIABLES = ("ALPHA", "BETA", "GAMMA")
TYPES = ("web", "worker")
PROGRAMS: tuple[dict[str, Any], ...] = (
    {},
    {},
    {"bind_after": 3},
    {"stop_after": 4},
    {"stop_after": None},
    {"bind": "nothing", "exit_after": 0.1, "exit_code": 3},
    {"bind": "loopback"},
    {"bind": "nothing", "lines": ["waiting for the database"]},
)
VERSION = re.compile(r"\bv(\d+)")
BRANCH = "refs/heads/main"


class ViolationError(AssertionError):
    """The platform broke its word."""


@dataclass
class Ends:
    """A command's ends without a terminal."""

    said: bytearray = field(default_factory=bytearray)

    async def read(self, limit: int) -> bytes:
        del limit
        return b""

    async def out(self, data: bytes) -> None:
        await asyncio.sleep(0)

    async def err(self, data: bytes) -> None:
        await asyncio.sleep(0)
        self.said += data


class Clients:
    """Ask for changes and remember what was acknowledged."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.model = Model()
        self.counts: Counter[str] = Counter()
        self.trace: list[str] = []
        self._number = 0

    async def work(self, steps: int) -> None:
        """One person, who does one thing after the other."""
        for _ in range(steps):
            name = self.dice.choice(NAMES)
            kinds = [self.push] * 5 + [self.set] * 6 + [self.scale] * 5 + [self.roll_back] * 3
            kinds += [self.restart, self.stop, self.start_again, self.detach, self.unset, self.set_later]
            what = self.destroy if self.dice.random() < 0.02 else self.dice.choice(kinds)
            await self.step(what, name)
            await asyncio.sleep(self.dice.choice((0, 0, 0.1, 5)))

    async def step(self, what: Callable[[App], Any], name: str) -> None:
        self.counts["steps"] += 1
        self.counts[what.__name__] += 1
        self.trace.append(f"{self.world.loop.now:.3f} {what.__name__} {name}")
        try:
            app = await self.world.platform.services.store.apps.by_name(name)
            if app is None:
                await self.create(name)
            else:
                await what(app)
        except (CygniError, GitError, OSError) as error:  # a person would see a sentence
            self.trace.append(f"{self.world.loop.now:.3f} {what.__name__} {name}: {error}")
            self.counts["refused"] += 1

    async def command(self, *words: str) -> tuple[int, str]:
        services = self.world.platform.services
        user = await services.store.users.ensure("tester", admin=True)
        ends = Ends()
        code = await dispatch(registry, words, Context(User(user.id, user.name, True), ends, services))
        self.counts["acknowledged" if code == 0 else "refused"] += 1
        text = ends.said.decode()
        self.trace.append(f"{self.world.loop.now:.3f} {' '.join(words)}: {code} {text.strip()[-200:]}")
        if "Something unexpected" in text or "unexpected" in text.lower():
            self.counts["unexpected"] += 1
        return code, text

    async def create(self, name: str) -> None:
        code, _ = await self.command("apps:create", name)
        if code == 0:
            app = await self.world.platform.services.store.apps.by_name(name)
            if app is None:
                raise ViolationError(f"{name} was created and is not there")

    @asynccontextmanager
    async def _pushing(self, app: App) -> AsyncIterator[tuple[str, Path]]:
        """What git's server does around a push: yields the commit, whose objects are in, and the repository."""
        pushes = self.world.platform.ssh._pushes
        user = await self.world.platform.services.store.users.ensure("tester", admin=True)
        pusher = Principal(user.id, user.name, admin=True)
        try:
            opened = await pushes.open(pusher, app.name, "receive-pack")
            async with pushes.slot(opened, pusher, self._announce):
                if opened.id != app.id:
                    raise Refused("another app has this name now")
                yield self._commit(app), opened.path
        except Refused as refused:
            raise ConflictError(str(refused)) from None

    async def _announce(self, line: str) -> None:
        self.trace.append(f"{self.world.loop.now:.3f}     {line}")

    async def push(self, app: App) -> None:
        async with self._pushing(app) as (commit, path):
            services = self.world.platform.services
            build, job = await services.builds.enqueue(
                app, commit=commit, ref=BRANCH, message="", author="tester", quarantine=None
            )
            ended = await self._followed(build.id, job)
            if ended.status is not JobStatus.DONE:
                self.counts["refused"] += 1
                return
            version = int(str(ended.result)[1:])
            await self._move(path, commit)
            self.counts["acknowledged"] += 1
            self._released(app, version, commit)
            await services.repositories.keep_release(path, version, commit)
        self.world.platform.housekeeping.after_push(app.id)

    def _commit(self, app: App) -> str:
        self._number += 1
        program = self.dice.choice(PROGRAMS)
        files = files_of_app(
            Procfile="web: python3 server.py\nworker: python3 worker.py\n", worker_py="pass\n"
        )
        files |= {"note": str(self._number), "cygni-memory.json": json.dumps(program)}
        return self.world.write_commit(app.id, files, self._number)

    async def _move(self, path: Any, commit: str) -> None:
        await repository.write_ref(path, BRANCH, commit, await repository.read_ref(path, BRANCH))

    async def _followed(self, output: str, job: Job) -> Job:
        services = self.world.platform.services
        async with services.builds.following(output, job) as lines:
            async for line in lines:
                self.trace.append(f"{self.world.loop.now:.3f}     {line[:200]}")
        return await services.worker.wait(job.id, timeout=4 * 3600)

    def _released(self, app: App, version: int, commit: str | None) -> None:
        self.model.releases[app.id].setdefault(version, commit)

    async def detach(self, app: App) -> None:
        async with self._pushing(app) as (commit, path):
            await self._move(path, commit)
            self.model.detached[app.id].add(commit)
            with suppress(CygniError):
                await self.world.platform.services.builds.enqueue(
                    app, commit=commit, ref=BRANCH, message="", author="tester", quarantine=None
                )
                self.counts["acknowledged"] += 1
                return
            self.model.detached[app.id].discard(commit)  # a living server says so in its log

    async def set(self, app: App) -> None:
        await self._change_config(app, restart=True)

    async def set_later(self, app: App) -> None:
        await self._change_config(app, restart=False)

    async def _change_config(self, app: App, *, restart: bool) -> None:
        names = self.dice.sample(VARIABLES, self.dice.choice((1, 1, 2)))
        values: dict[str, str | None] = {}
        for name in names:
            self._number += 1
            values[name] = f"plain-{self.dice.getrandbits(64):016x}-{self._number}"
            self.world.secrets.add(str(values[name]))
        words = [f"{name}={value}" for name, value in values.items()]
        more = [] if restart else ["--no-restart"]
        await self._config_command(
            app, values, ("config:set", "-a", app.name, *words, *more), restart=restart
        )

    async def unset(self, app: App) -> None:
        name = self.dice.choice(VARIABLES)
        await self._config_command(app, {name: None}, ("config:unset", "-a", app.name, name), restart=True)

    async def _config_command(
        self, app: App, values: dict[str, str | None], words: tuple[str, ...], *, restart: bool
    ) -> None:
        write = self.model.config.begin({(app.id, name): value for name, value in values.items()})
        try:
            code, said = await self.command(*words)
        except BaseException:
            self.model.config.refused(write)
            raise
        if code:
            self.model.config.refused(write)
            return
        if restart:
            await self._served(app, write, values)
        self.model.config.acknowledged(write)
        self._told(app, said)

    async def _served(self, app: App, write: Write, values: dict[str, str | None]) -> None:
        """An acknowledged change of config is in the release that is live."""
        live = await self.world.platform.services.store.releases.live(app.id)
        if live is None:
            return
        for name, value in values.items():
            alone = self.model.config.is_alone(write, (app.id, name))
            if alone and live.config.get(name) != value and app.id not in self.model.leaving:
                raise ViolationError(f"{app.name}: {name} was set, and v{live.version} is live without it")

    def _told(self, app: App, said: str) -> None:
        last = said.strip().split("\n")[-1] if said.strip() else ""
        found = VERSION.findall(last)
        if found and "done" in last:
            self._released(app, int(found[-1]), None)

    async def scale(self, app: App) -> None:
        process = self.dice.choice(TYPES)
        count = self.dice.choice((0, 1, 1, 2, 3))
        await self._formation(app, {process: count}, "ps:scale", f"{process}={count}")

    async def stop(self, app: App) -> None:
        process = self.dice.choice(TYPES)
        await self._formation(app, {process: 0}, "ps:stop", process)

    async def start_again(self, app: App) -> None:
        """What it brings back depends on what was asked for before, so it may be any of that."""
        process = self.dice.choice(TYPES)
        writes = [self.model.quantity.begin({(app.id, process): count}) for count in range(4)]
        try:
            await self.command("ps:start", "-a", app.name, process)
        finally:
            for write in writes:
                self.model.quantity.refused(write)

    async def _formation(self, app: App, quantities: dict[str, int], *words: str) -> None:
        write = self.model.quantity.begin({(app.id, name): count for name, count in quantities.items()})
        done = False
        try:
            code, _ = await self.command(words[0], "-a", app.name, *words[1:])
            done = code == 0
        finally:
            (self.model.quantity.acknowledged if done else self.model.quantity.refused)(write)

    async def restart(self, app: App) -> None:
        await self.command("ps:restart", "-a", app.name)

    async def roll_back(self, app: App) -> None:
        found = await self.world.platform.services.store.releases.list(app.id, 8)
        targets = [release for release in found if release.status is ReleaseStatus.RETIRED]
        if not targets:
            return
        target = self.dice.choice(targets)
        values = {(app.id, name): target.config.get(name) for name in VARIABLES}
        # Not closed unless it is acknowledged: a rollback that a kill interrupted is done by the next server.
        write = self.model.config.begin(values)
        code, said = await self.command("rollback", "-a", app.name, f"v{target.version}")
        if code == 0:
            self.model.config.acknowledged(write)
            self._told(app, said)

    async def destroy(self, app: App) -> None:
        self.model.leaving.add(app.id)
        code, _ = await self.command("apps:destroy", "-a", app.name, "--confirm", app.name)
        if code == 0:
            self.model.gone.add(app.id)
            self.world.gone.add(app.id)
            self.model.forget(app.id)


class Mishaps:
    """Break things at random, and mend them after a while."""

    def __init__(self, world: World, dice: random.Random, counts: Counter[str]) -> None:
        self._world = world
        self._dice = dice
        self._counts = counts

    async def happen(self) -> None:
        """Until cancelled."""
        kinds = [self.crash] * 6 + [self.deafen] * 2
        kinds += [
            self.engine_down,
            self.silent,
            self.deaf,
            self.disk_full,
            self.read_only,
            self.jump,
            self.sleep,
        ]
        while True:
            await asyncio.sleep(self._dice.uniform(0.1, 20))
            kind = self._dice.choice(kinds)
            self._counts["mishaps"] += 1
            self._counts[kind.__name__] += 1
            await kind()

    async def _for_a_while(self) -> None:
        await asyncio.sleep(self._dice.choice((0.05, 1, 10, 40)))

    def _victim(self) -> Any:
        found = [item for item in self._world.containers() if item.state == "running"]
        return self._dice.choice(found) if found else None

    async def crash(self) -> None:
        if (victim := self._victim()) is not None:
            victim.end(self._dice.choice((0, 1, 137)), out_of_memory=self._dice.random() < 0.3)

    async def deafen(self) -> None:
        if (victim := self._victim()) is not None:
            victim.deafen()

    async def engine_down(self) -> None:
        self._world.machine.go_down()
        await self._for_a_while()
        self._world.machine.come_back()

    async def silent(self) -> None:
        await self._fault("silent")

    async def deaf(self) -> None:
        await self._fault("deaf")

    async def disk_full(self) -> None:
        await self._fault("disk_full")

    async def read_only(self) -> None:
        await self._fault("read_only")

    async def _fault(self, name: str) -> None:
        setattr(self._world.faults, name, True)
        await self._for_a_while()
        setattr(self._world.faults, name, False)

    async def jump(self) -> None:
        """Somebody sets the clock."""
        self._world.faults.clock += timedelta(hours=self._dice.choice((-30, -1, 1, 30)))

    async def sleep(self) -> None:
        """The machine is suspended for an hour."""
        self._world.loop.now += 3600
