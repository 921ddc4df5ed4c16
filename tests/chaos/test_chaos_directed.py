"""What the random runs found, or could have found, each as a test of its own."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from chaos_clients import BRANCH, Clients
from chaos_world import World
from invariants import settled
from simulated_loop import SimulatedLoop

from cygni.domain.models import App, JobStatus, Lane, ReleaseStatus
from cygni.operations import ROLLBACK
from gitserver import repository
from gitserver.ports import Principal, Refused

pytestmark = pytest.mark.filterwarnings("ignore:The garbage collector is trying")
"""The connections of the killed."""

Play = Callable[[Callable[["Stage"], Coroutine[Any, Any, None]]], None]


class Stage:
    """A world with one app."""

    def __init__(self, world: World, clients: Clients) -> None:
        self.world = world
        self.clients = clients

    @property
    def store(self) -> Any:
        return self.world.platform.services.store

    async def app(self) -> App:
        found = await self.store.apps.by_name("shop")
        assert found is not None
        return found

    async def good(self, *words: str) -> None:
        code, said = await self.clients.command(*words)
        assert code == 0, said

    async def push(self) -> None:
        """A push that goes live."""
        before = await self.store.releases.live((await self.app()).id)
        await self.clients.push(await self.app())
        after = await self.store.releases.live((await self.app()).id)
        assert after is not None
        assert before is None or after.version > before.version

    async def running(self, lane: Lane) -> None:
        """Until a job of the lane runs."""
        app = await self.app()
        while await self.store.jobs.running(app.id, lane) is None:
            await asyncio.sleep(0.01)

    async def converged(self) -> None:
        async with asyncio.timeout(3600):
            while await settled(self.world.view()):
                await asyncio.sleep(5)

    async def again(self) -> None:
        await self.world.kill()
        self.world.heal()
        await self.world.start()


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Play]:
    """Run a coroutine function on a stage where `shop` has two releases, `ALPHA=1` in v1 and `ALPHA=2` in v2."""
    monkeypatch.setattr("chaos_clients.PROGRAMS", ({"bind_after": 1},))
    dice = random.Random(1)
    loop = SimulatedLoop(dice)
    world = World(tmp_path / "data", loop, monkeypatch, dice)
    stage = Stage(world, Clients(world, dice))

    async def whole(scene: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
        await world.start()
        try:
            await stage.good("apps:create", "shop")
            await stage.good("config:set", "-a", "shop", "ALPHA=1")
            await stage.push()
            await stage.good("config:set", "-a", "shop", "ALPHA=2")
            async with asyncio.timeout(3600):
                await scene(stage)
        finally:
            await world.kill()

    with closing(loop), asyncio.Runner(loop_factory=lambda: loop) as runner:
        yield lambda scene: runner.run(whole(scene))


def test_config_that_is_set_during_a_rollback_stays(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        going_back = asyncio.create_task(stage.clients.command("rollback", "-a", "shop", "v1"))
        while (await stage.store.releases.latest((await stage.app()).id)).version < 3:
            await asyncio.sleep(0.01)
        await stage.good("config:set", "-a", "shop", "BETA=new")
        assert (await going_back)[0] == 0
        live = await stage.store.releases.live((await stage.app()).id)
        assert (live.version, live.config) == (4, {"ALPHA": "1", "BETA": "new"})

    play(scene)


def test_config_that_is_set_while_the_first_release_boots_is_live_when_it_is_acknowledged(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        await stage.good("apps:create", "blog")
        blog = await stage.store.apps.by_name("blog")
        pushing = asyncio.create_task(stage.clients.push(blog))
        while not await stage.store.releases.list(blog.id, 1):
            await asyncio.sleep(0.01)
        assert await stage.store.releases.live(blog.id) is None
        await stage.good("config:set", "-a", "blog", "ALPHA=1")
        live = await stage.store.releases.live(blog.id)
        assert (live.version, live.config) == (2, {"ALPHA": "1"})
        await pushing

    play(scene)


def test_config_that_is_set_while_the_first_release_fails_is_kept(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = {"bind": "nothing", "exit_after": 1, "exit_code": 3}

    async def scene(stage: Stage) -> None:
        monkeypatch.setattr("chaos_clients.PROGRAMS", (broken,))
        await stage.good("apps:create", "blog")
        blog = await stage.store.apps.by_name("blog")
        pushing = asyncio.create_task(stage.clients.push(blog))
        while not await stage.store.releases.list(blog.id, 1):
            await asyncio.sleep(0.01)
        await stage.good("config:set", "-a", "blog", "ALPHA=1")
        await pushing
        assert await stage.store.releases.live(blog.id) is None
        assert await stage.store.config.get(blog.id) == {"ALPHA": "1"}

    play(scene)


@pytest.mark.parametrize("reached", ["claimed", "created", "committed"])
def test_a_rollback_that_a_kill_interrupts_is_done_once_and_whole(play: Play, reached: str) -> None:
    """Whenever the kill comes, code and config go back together."""

    async def scene(stage: Stage) -> None:
        app = await stage.app()
        operation = await stage.world.platform.services.operations.start(
            app, ROLLBACK, "ann", {"version": "1"}
        )
        await stage.running(Lane.DEPLOY)
        while reached != "claimed":
            latest = await stage.store.releases.latest(app.id)
            if latest.output_id == operation.job.id and (reached == "created" or latest.status == "live"):
                break
        await stage.again()
        await stage.world.platform.worker.wait(operation.job.id, 600)
        live = await stage.store.releases.live(app.id)
        assert live.config == await stage.store.config.get(app.id) == {"ALPHA": "1"}
        by_it = [
            release
            for release in await stage.store.releases.list(app.id, 100)
            if release.output_id == operation.job.id and release.status is not ReleaseStatus.FAILED
        ]
        assert by_it == [live]
        await stage.converged()

    play(scene)


def test_a_half_destroyed_app_is_destroyed_by_the_next_server(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        app = await stage.app()
        stage.world.machine.go_down()
        assert (await stage.clients.command("apps:destroy", "-a", "shop", "--confirm", "shop"))[0] == 1
        await stage.again()
        stage.world.gone.add(app.id)
        await stage.converged()
        assert await stage.store.apps.by_id(app.id) is None

    play(scene)


def test_a_half_destroyed_app_with_an_unbuilt_commit_keeps_no_server_from_starting(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        app = await stage.app()
        path = stage.world.platform.services.repositories.path(app.id)
        commit = stage.world.write_commit(app.id, {"a": "b"}, 1)
        await repository.write_ref(path, BRANCH, commit, await repository.read_ref(path, BRANCH))
        await stage.store.apps.mark_destroying(app.id)
        await stage.again()
        await stage.converged()
        assert await stage.store.apps.by_id(app.id) is None

    play(scene)


def test_destroying_an_app_ends_its_build_and_leaves_no_image(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        for rounds in (1, 60, 120):
            if await stage.store.apps.by_name("shop") is None:
                await stage.good("apps:create", "shop")
            app = await stage.app()
            pushing = asyncio.create_task(stage.clients.step(stage.clients.push, "shop"))
            await stage.running(Lane.BUILD)
            await stage.world.loop.after(rounds)
            await stage.good("apps:destroy", "-a", "shop", "--confirm", "shop")
            stage.world.gone.add(app.id)
            await pushing
            await stage.converged()

    play(scene)


def test_a_push_to_an_app_that_is_gone_by_now_leaves_no_repository(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        app = await stage.app()
        pushes = stage.world.platform.ssh._pushes
        user = await stage.store.users.ensure("tester", admin=True)
        pusher = Principal(user.id, user.name, admin=True)
        opened = await pushes.open(pusher, "shop", "receive-pack")
        await stage.good("apps:destroy", "-a", "shop", "--confirm", "shop")
        path = await stage.world.platform.services.repositories.ensure(app.id)  # as an `open` that was slow
        with pytest.raises(Refused, match="no app"):
            async with pushes.slot(opened, pusher, stage.clients._announce):
                pass
        assert not path.exists()

    play(scene)


def test_images_are_not_collected_while_a_build_or_a_rollback_has_found_one(play: Play) -> None:
    async def scene(stage: Stage) -> None:
        releases = stage.world.platform.services.releases
        app = await stage.app()
        image = (await stage.store.releases.get(app.id, 1)).image
        async with releases._images.in_use(app.id):
            for _ in range(4):
                await stage.push()
            await releases.collect(app)
            assert await releases._images.exists(image)
        await releases.collect(app)
        assert not await releases._images.exists(image)

    play(scene)


def test_a_release_whose_failure_a_full_disk_kept_from_being_written_is_not_pending_for_ever(
    play: Play,
) -> None:
    async def scene(stage: Stage) -> None:
        app = await stage.app()
        operation = await stage.world.platform.services.operations.change_config(app, {"BETA": "1"}, "ann")
        while (await stage.store.releases.latest(app.id)).status is not ReleaseStatus.PENDING:
            await asyncio.sleep(0.001)
        stage.world.faults.disk_full = True
        await asyncio.sleep(30)
        stage.world.faults.disk_full = False
        job = await stage.world.platform.worker.wait(operation.job.id, 600)
        assert job.status is JobStatus.FAILED
        assert (await stage.store.releases.latest(app.id)).status is ReleaseStatus.FAILED
        await stage.converged()

    play(scene)
