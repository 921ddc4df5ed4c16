"""The queue: order, exclusion, ownership, take-over."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import exc

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, BuildStatus, Job, JobStatus, Lane, ReleaseStatus, User
from cygni.store import QUEUE, Store


async def _enqueue(store: Store, app: App, kind: str = "restart", lane: Lane = Lane.DEPLOY) -> Job:
    return await store.jobs.enqueue(app.id, lane, kind, {"a": "b"}, "ann")


async def test_the_oldest_job_is_claimed_first_and_one_of_an_app_and_lane(
    store: Store, shop: App, ann: User
) -> None:
    blog = await store.apps.create("blog", ann.id)
    first, second = await _enqueue(store, shop), await _enqueue(store, shop)
    building, other = await _enqueue(store, shop, lane=Lane.BUILD), await _enqueue(store, blog)
    claimed = [await store.jobs.claim("me") for _ in range(4)]
    assert [job.id if job else None for job in claimed] == [first.id, building.id, other.id, None]
    assert await store.jobs.running(shop.id, Lane.DEPLOY) == claimed[0]
    assert await store.jobs.finish(first.id, JobStatus.DONE, "v1")
    assert await store.jobs.running(shop.id, Lane.DEPLOY) is None
    following = await store.jobs.claim("me")
    assert following is not None
    assert (following.id, following.status, following.owner) == (second.id, JobStatus.RUNNING, "me")


async def test_only_the_lanes_asked_for_are_claimed(store: Store, shop: App) -> None:
    await _enqueue(store, shop)
    assert await store.jobs.claim("me", [Lane.BUILD]) is None
    assert await store.jobs.claim("me", []) is None
    assert await store.jobs.claim("me", [Lane.DEPLOY]) is not None


async def test_a_job_for_no_app_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.jobs.enqueue("nothing", Lane.DEPLOY, "restart", {}, "ann")


async def test_a_lane_has_a_bound(store: Store, shop: App, ann: User) -> None:
    for _ in range(100):
        await _enqueue(store, shop)
    with pytest.raises(ConflictError, match="100"):
        await _enqueue(store, shop)
    await _enqueue(store, shop, lane=Lane.BUILD)
    await _enqueue(store, await store.apps.create("blog", ann.id))


async def test_two_stores_that_claim_at_once_never_hold_the_same_app_and_lane(
    store: Store, url: str, key_file: Path, ann: User
) -> None:
    apps = [await store.apps.create(f"app{n}", ann.id) for n in range(4)]
    for _ in range(3):
        for app in apps:
            await _enqueue(store, app)
    other = await Store.open(url, key_file)
    claims = (which.jobs.claim(owner) for _ in range(20) for which, owner in ((store, "one"), (other, "two")))
    try:
        held = [job for job in await asyncio.gather(*claims) if job]
    finally:
        await other.close()
    assert sorted(job.app_id for job in held) == sorted(app.id for app in apps)


async def test_the_schema_refuses_a_second_running_job_of_an_app_and_lane(store: Store, shop: App) -> None:
    await _enqueue(store, shop)
    await _enqueue(store, shop)
    with pytest.raises(exc.IntegrityError):
        async with store.database.engine.begin() as connection:
            await connection.exec_driver_sql("UPDATE jobs SET status = 'running'")


async def test_the_schema_refuses_a_second_waiting_job_that_coalesces(store: Store, shop: App) -> None:
    await store.config.change(shop.id, {"A": "1"}, author="ann", job_kind="config")
    with pytest.raises(exc.IntegrityError):
        async with store.database.engine.begin() as connection:
            await connection.exec_driver_sql(
                "INSERT INTO jobs (id, app_id, lane, kind, payload, author, status, created_at, coalesce) "
                "SELECT 'x', app_id, lane, kind, payload, author, status, created_at, coalesce FROM jobs"
            )


async def test_a_job_ends_once_and_by_its_owner(store: Store, shop: App) -> None:
    job = await _enqueue(store, shop)
    assert not await store.jobs.finish(job.id, JobStatus.DONE, "not running")
    await store.jobs.claim("me")
    assert not await store.jobs.finish(job.id, JobStatus.DONE, "stolen", owner="you")
    assert await store.jobs.finish(job.id, JobStatus.FAILED, "no", owner="me")
    assert not await store.jobs.finish(job.id, JobStatus.DONE, "yes")
    ended = await store.jobs.get(job.id)
    assert ended is not None
    assert (ended.status, ended.result) == (JobStatus.FAILED, "no")
    assert await store.jobs.get("nothing") is None


async def test_a_running_job_is_not_cancelled_as_if_it_waited(store: Store, shop: App) -> None:
    job = await _enqueue(store, shop)
    await store.jobs.claim("me")
    assert not await store.jobs.cancel_waiting(job.id)


async def test_silent_owners_are_told_from_living_ones(store: Store, shop: App) -> None:
    job = await _enqueue(store, shop)
    await store.jobs.claim("dead")
    assert await store.jobs.abandoned("me", 60) == []
    assert [found.id for found in await store.jobs.abandoned("me", 0)] == [job.id]
    assert await store.jobs.abandoned("dead", 0) == []
    async with store.database.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE jobs SET heartbeat_at = '2020-01-01 00:00:00.000000'")
    assert [found.id for found in await store.jobs.abandoned("me", 60)] == [job.id]
    assert await store.jobs.heartbeat("dead") == {job.id}
    assert await store.jobs.abandoned("me", 60) == []


async def test_of_many_that_take_over_one_does_and_the_former_owner_learns_it(
    store: Store, shop: App
) -> None:
    await _enqueue(store, shop)
    job = await store.jobs.claim("dead")
    assert job is not None
    taken = await asyncio.gather(*(store.jobs.take_over(job, f"heir{n}") for n in range(10)))
    assert taken.count(True) == 1
    assert await store.jobs.heartbeat("dead") == set()


async def test_a_requeued_job_is_claimed_before_younger_ones(store: Store, shop: App) -> None:
    first, _ = await _enqueue(store, shop), await _enqueue(store, shop)
    await store.jobs.claim("me")
    assert not await store.jobs.requeue(first.id, owner="you")
    assert await store.jobs.requeue(first.id, owner="me")
    assert not await store.jobs.requeue(first.id)
    again = await store.jobs.claim("me")
    assert again is not None
    assert again.id == first.id


async def test_requeuing_work_that_a_newer_waiting_job_does_too_ends_it(
    store: Store, shop: App, make_build: Any
) -> None:
    build, job = await make_build()
    await store.jobs.claim("me")
    await store.builds.start(build.id)
    newer, _ = await make_build()
    assert await store.jobs.requeue(job.id)
    ended, superseded, waiting = (
        await store.jobs.get(job.id),
        await store.builds.get(build.id),
        await store.builds.get(newer.id),
    )
    assert ended is not None
    assert superseded is not None
    assert waiting is not None
    assert ended.status is JobStatus.CANCELLED
    assert (superseded.status, waiting.status) == (BuildStatus.SUPERSEDED, BuildStatus.QUEUED)


async def test_new_jobs_and_ends_are_announced_after_the_commit(store: Store, shop: App) -> None:
    with store.jobs.notifier.subscribe(QUEUE) as queued:
        job = await _enqueue(store, shop)
        assert queued.is_set()
    with store.jobs.notifier.subscribe(job.id) as ended, store.jobs.notifier.subscribe(QUEUE) as freed:
        await store.jobs.claim("me")
        assert not ended.is_set()
        await store.jobs.finish(job.id, JobStatus.DONE, None)
        assert ended.is_set()
        assert freed.is_set()


async def test_what_was_rolled_back_is_not_announced(store: Store, shop: App) -> None:
    with store.jobs.notifier.subscribe(QUEUE) as queued, pytest.raises(ConflictError):
        await store.formation.change(shop.id, {"web": -1}, author="ann", job_kind="scale")
    assert not queued.is_set()


async def test_old_ended_jobs_are_forgotten_and_numbers_not_given_again(store: Store, shop: App) -> None:
    done, waiting = await _enqueue(store, shop), await _enqueue(store, shop)
    await store.jobs.claim("me")
    await store.jobs.finish(done.id, JobStatus.DONE, None)
    assert await store.jobs.prune(60) == 0
    assert await store.jobs.prune(0) == 1
    assert await store.jobs.get(done.id) is None
    assert await store.jobs.get(waiting.id) == waiting


async def test_no_release_stays_pending_when_the_job_of_its_lane_has_ended(
    store: Store, shop: App, make_release: Any
) -> None:
    running = await store.jobs.enqueue(shop.id, Lane.DEPLOY, "deploy", {}, "ann")
    waiting = await store.jobs.enqueue(shop.id, Lane.DEPLOY, "deploy", {}, "ann")
    assert (await store.jobs.claim("me")) is not None
    pending = await make_release()
    await store.jobs.cancel_waiting(waiting.id)
    assert (await store.releases.get(shop.id, pending.version)).status is ReleaseStatus.PENDING
    await store.jobs.finish(running.id, JobStatus.FAILED, "the disk was full")
    ended = await store.releases.get(shop.id, pending.version)
    assert (ended.status, ended.failure) == (
        ReleaseStatus.FAILED,
        "its roll-out ended before it went live",
    )


async def test_no_build_stays_under_way_when_its_job_has_ended(
    store: Store, shop: App, make_build: Any
) -> None:
    build, job = await make_build()
    await store.jobs.claim("me")
    await store.builds.start(build.id)
    await store.jobs.finish(job.id, JobStatus.FAILED, "the disk was full")
    ended = await store.builds.get(build.id)
    assert (ended.status, ended.failure_id) == (BuildStatus.FAILED, "platform/unexpected")
