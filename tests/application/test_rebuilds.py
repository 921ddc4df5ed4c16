"""A live release whose image is missing: what is said when it cannot be built again, and who waits meanwhile."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import AsyncMock

import pytest

from buildpacks.tree import TreeError
from cygni.domain.errors import BuildError, ReleaseError
from cygni.domain.models import App, BuildStatus, JobStatus, Lane, ProcessType, Release
from cygni.rebuilds import REBUILD, Rebuilds
from cygni.store import Store


class World:
    """A store with one live release, and an engine without its image."""

    def __init__(self, store: Store, app: App, release: Release) -> None:
        self.store, self.app, self.release = store, app, release
        self.images: Any = AsyncMock()
        self.images.exists.return_value = False
        self.error: Exception | None = None
        self.said: list[str] = []
        self.marked: list[str] = []
        self.missing: set[str] = set()
        self.rebuilds = Rebuilds(store, self, self.images, self.report, self.missing, self.marked.append)  # type: ignore[arg-type]

    async def report(self, _app_id: str, text: str) -> None:
        self.said.append(text)

    @asynccontextmanager
    async def open(self, app: App, build: Any) -> AsyncIterator[Any]:
        if self.error:
            raise self.error
        yield build

    async def job(self) -> Any:
        await self.rebuilds.look()
        job = await self.store.jobs.claim("me", [Lane.BUILD])
        assert job is not None
        assert job.kind == REBUILD
        return job


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    store = await Store.open(f"sqlite:///{tmp_path / 'cygni.db'}", tmp_path / "secret.key")
    app = await store.apps.create("shop", (await store.users.ensure("ann")).id)
    build, job = await store.builds.enqueue(
        app.id, commit="c" * 40, ref="r", message="m", author="ann", quarantine=None, payload={}
    )
    await store.jobs.claim("me", [Lane.BUILD])
    await store.builds.finish(build.id, BuildStatus.SUCCEEDED, image="sha256:old")
    await store.jobs.finish(job.id, JobStatus.DONE, None)
    for _ in range(2):  # two releases of one image
        release = await store.releases.create(
            app.id, image="sha256:old", commit="c" * 40, processes=(ProcessType("web", ("x",)),),
            release_command=None, author="ann", reason="Deploy", build_id=build.id,
        )  # fmt: skip
        await store.releases.set_live(release.id)
    yield World(store, app, release)
    await store.close()


async def test_every_release_of_the_lost_image_gets_the_new_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cygni.rebuilds.replace", lambda value, **_: value)
    world.images.build.return_value.image = "sha256:new"
    job = await world.job()
    assert world.missing == {world.app.id}
    assert await world.rebuilds.rebuild(world.app, job, AsyncMock()) == "v2"
    releases = await world.store.releases.list(world.app.id, 10)
    assert {(release.version, release.image) for release in releases} == {
        (1, "sha256:new"),
        (2, "sha256:new"),
    }
    build = await world.store.builds.by_number(world.app.id, 1)
    assert build is not None
    assert build.image == "sha256:new"
    assert (world.missing, world.marked) == (set(), [world.app.id])


@pytest.mark.parametrize(
    ("error", "raised", "said"),
    [
        (TreeError("no such commit"), ReleaseError, "so is its commit ccccccc: push that commit again"),
        (
            BuildError("no room", failure_id="x", headline="no room"),
            BuildError,
            "could not be built again: no room",
        ),
    ],
)
async def test_what_cannot_be_built_is_said_in_the_apps_log_and_nobody_waits_for_it(
    world: World, error: Exception, raised: type[Exception], said: str
) -> None:
    world.error = error
    job = await world.job()
    with pytest.raises(raised):
        await world.rebuilds.rebuild(world.app, job, AsyncMock())
    assert said in world.said[-1]
    assert (world.missing, world.marked) == (set(), [world.app.id])
    live = await world.store.releases.live(world.app.id)
    assert live is not None
    assert (live.version, live.image) == (2, "sha256:old")


async def test_an_image_that_is_there_is_left_alone(world: World) -> None:
    world.images.exists.return_value = True
    await world.rebuilds.look()
    assert await world.store.jobs.claim("me") is None
    assert world.missing == set()
