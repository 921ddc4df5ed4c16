"""Release numbers, the live release, snapshots, and images that must stay."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exc

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, BuildStatus, ProcessType, Release, ReleaseStatus, User
from cygni.store import Store


async def test_twenty_releases_at_once_are_numbered_without_a_gap(
    store: Store, shop: App, make_release: Any
) -> None:
    made = await asyncio.gather(*(make_release() for _ in range(20)))
    assert sorted(release.version for release in made) == list(range(1, 21))


async def test_a_release_that_was_refused_leaves_no_gap(store: Store, shop: App, make_release: Any) -> None:
    await make_release()
    with pytest.raises(ConflictError):
        await make_release(build_id="no such build")
    assert (await make_release()).version == 2


async def test_two_stores_on_one_database_number_without_a_gap(
    url: str, key_file: Path, store: Store, shop: App
) -> None:
    other = await Store.open(url, key_file)
    try:
        made = await asyncio.gather(
            *(
                which.releases.create(
                    shop.id, image="i", commit="c", processes=(), release_command=None, author="a", reason="r"
                )
                for _ in range(10)
                for which in (store, other)
            )
        )
    finally:
        await other.close()
    assert sorted(release.version for release in made) == list(range(1, 21))


async def test_a_release_comes_back_as_it_was_made(store: Store, shop: App, make_build: Any) -> None:
    build, _ = await make_build()
    made = await store.releases.create(
        shop.id,
        image="sha256:1",
        commit="c" * 40,
        processes=[ProcessType("web", ("a", "b c")), ProcessType("worker", ())],
        release_command=("migrate",),
        author="ann",
        reason="Deploy",
        build_id=build.id,
        config={"A": "given"},
    )
    assert await store.releases.get(shop.id, 1) == await store.releases.latest(shop.id) == made
    assert (made.status, made.config, made.release_command) == (
        ReleaseStatus.PENDING,
        {"A": "given"},
        ("migrate",),
    )
    assert "given" not in repr(made)
    assert await store.releases.get(shop.id, 2) is await store.releases.live(shop.id) is None


async def test_a_snapshot_does_not_follow_later_config(store: Store, shop: App, make_release: Any) -> None:
    await store.config.change(shop.id, {"A": "1"}, author="ann", job_kind=None)
    made = await make_release()
    await store.config.change(shop.id, {"A": "2"}, author="ann", job_kind=None)
    assert made.config == {"A": "1"}
    stored = await store.releases.get(shop.id, made.version)
    assert stored == made


async def test_going_live_retires_the_former_one(store: Store, shop: App, make_release: Any) -> None:
    first, second = await make_release(live=True), await make_release()
    await store.releases.set_live(second.id)
    await store.releases.set_live(second.id)
    assert [release.status for release in await store.releases.list(shop.id, 10)] == [
        ReleaseStatus.LIVE,
        ReleaseStatus.RETIRED,
    ]
    with pytest.raises(ConflictError):
        await store.releases.set_live(first.id)
    with pytest.raises(NotFoundError):
        await store.releases.set_live("nothing")


async def test_of_twenty_going_live_at_once_exactly_one_is(
    store: Store, shop: App, make_release: Any
) -> None:
    made = [await make_release() for _ in range(20)]
    await asyncio.gather(*(store.releases.set_live(release.id) for release in made))
    states = [release.status for release in await store.releases.list(shop.id, 50)]
    assert (states.count(ReleaseStatus.LIVE), states.count(ReleaseStatus.RETIRED)) == (1, 19)


async def test_the_schema_refuses_a_second_live_release(store: Store, shop: App, make_release: Any) -> None:
    await make_release(live=True)
    await make_release()
    with pytest.raises(exc.IntegrityError):
        async with store.database.engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE releases SET status = 'live'")


async def test_the_schema_refuses_a_version_twice(store: Store, shop: App, make_release: Any) -> None:
    await make_release()
    await make_release()
    with pytest.raises(exc.IntegrityError):
        async with store.database.engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE releases SET version = 1")


async def test_a_failed_release_never_goes_live_and_a_live_one_never_fails(
    store: Store, shop: App, make_release: Any
) -> None:
    failed, live = await make_release(), await make_release(live=True)
    await store.releases.fail(failed.id, "it exited with 1")
    await store.releases.fail(failed.id, "again")
    stored = await store.releases.get(shop.id, failed.version)
    assert stored is not None
    assert (stored.status, stored.failure) == (ReleaseStatus.FAILED, "it exited with 1")
    with pytest.raises(ConflictError):
        await store.releases.set_live(failed.id)
    with pytest.raises(ConflictError):
        await store.releases.fail(live.id, "no")
    serving = await store.releases.live(shop.id)
    assert serving is not None
    assert serving.id == live.id


async def test_live_releases_of_all_apps(store: Store, shop: App, ann: User, make_release: Any) -> None:
    blog = await store.apps.create("blog", ann.id)
    for app in (shop, blog):
        await make_release(app, live=True)
        await make_release(app, live=True)
        await make_release(app)
    found: list[Release] = await store.releases.all_live()
    assert {(release.app_id, release.version) for release in found} == {(shop.id, 2), (blog.id, 2)}


async def test_images_stay_while_live_pending_or_in_the_rollback_window(
    store: Store, shop: App, ann: User, make_release: Any
) -> None:
    blog = await store.apps.create("blog", ann.id)
    await make_release(blog, image="blog", live=True)
    for image in ("one", "two", "three"):
        await make_release(image=image, live=True)
    for image in ("bad1", "bad2", "bad3"):
        failed = await make_release(image=image)
        await store.releases.fail(failed.id, "no")
    await make_release(image="coming")
    assert await store.releases.kept_images(2) == {"blog", "two", "three", "coming"}
    assert await store.releases.kept_images(1) == {"blog", "three", "coming"}
    assert await store.releases.kept_images(0) == {"blog", "three", "coming"}


async def test_an_image_that_was_just_built_stays_until_its_release_is_there(
    store: Store, shop: App, make_build: Any
) -> None:
    for image in ("older", "newest"):
        build, job = await make_build()
        await store.jobs.claim("me")
        await store.builds.finish(build.id, BuildStatus.SUCCEEDED, image=image)
        await store.jobs.finish(job.id, job.status.DONE, None)
    assert await store.releases.kept_images(5) == {"newest"}


async def test_going_live_restores_the_config_but_what_was_changed_since(
    store: Store, shop: App, make_release: Any
) -> None:
    await store.config.change(shop.id, {"A": "1", "B": "1"}, author="ann", job_kind=None)
    before = await store.config.get(shop.id)
    back = await make_release(config={"A": "0", "C": "0", "D": "0"})
    await store.config.change(shop.id, {"C": "new", "E": "new"}, author="ann", job_kind=None)
    await store.releases.set_live(back.id, restore=before)
    assert await store.config.get(shop.id) == {"A": "0", "C": "new", "D": "0", "E": "new"}
    await store.config.change(shop.id, {"A": "2"}, author="ann", job_kind=None)
    await store.releases.set_live(back.id, restore=before)  # it is live already
    assert (await store.config.get(shop.id))["A"] == "2"


async def test_a_release_that_never_goes_live_leaves_the_config(
    store: Store, shop: App, make_release: Any
) -> None:
    await store.config.change(shop.id, {"A": "1"}, author="ann", job_kind=None)
    back = await make_release(config={"A": "0"})
    await store.releases.fail(back.id, "it crashed")
    with pytest.raises(ConflictError):
        await store.releases.set_live(back.id, restore={"A": "1"})
    assert await store.config.get(shop.id) == {"A": "1"}
