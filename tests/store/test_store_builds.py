"""Builds: numbers, superseding, ends, cancelling, reuse."""

import asyncio
from typing import Any

import pytest

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, Build, BuildStatus, Job, JobStatus, Lane, ProcessType, User
from cygni.store import Store


async def _build(store: Store, build_id: str) -> Build:
    build = await store.builds.get(build_id)
    assert build is not None
    return build


async def _job(store: Store, job_id: str) -> Job:
    job = await store.jobs.get(job_id)
    assert job is not None
    return job


async def test_a_build_and_its_job_are_recorded_together(store: Store, shop: App, make_build: Any) -> None:
    build, job = await make_build()
    assert (build.number, build.status, build.job_id) == (1, BuildStatus.QUEUED, job.id)
    assert (job.lane, job.kind) == (Lane.BUILD, "build")
    assert job.payload == {"detach": "yes", "build_id": build.id}
    assert await store.builds.get(build.id) == await store.builds.by_number(shop.id, 1) == build
    assert await store.builds.get("nothing") is await store.builds.by_number(shop.id, 2) is None


async def test_a_refused_build_leaves_no_job_and_no_gap(store: Store, shop: App, make_build: Any) -> None:
    await store.apps.mark_destroying(shop.id)
    with pytest.raises(ConflictError):
        await make_build()
    assert await store.jobs.claim("me") is None
    assert await store.builds.list(shop.id, 10) == []


async def test_twenty_builds_at_once_are_numbered_without_a_gap_and_one_is_left_waiting(
    store: Store, shop: App, make_build: Any
) -> None:
    made = await asyncio.gather(*(make_build() for _ in range(20)))
    assert sorted(build.number for build, _ in made) == list(range(1, 21))
    builds = await store.builds.list(shop.id, 50)
    assert [build.status for build in builds] == [BuildStatus.QUEUED] + [BuildStatus.SUPERSEDED] * 19


async def test_the_newest_waiting_push_supersedes_older_waiting_ones_but_not_the_running_one(
    store: Store, shop: App, ann: User, make_build: Any
) -> None:
    blog = await store.apps.create("blog", ann.id)
    running, _ = await make_build()
    await store.jobs.claim("me")
    await store.builds.start(running.id)
    others, _ = await make_build(blog)
    waiting, waiting_job = await make_build()
    newest, newest_job = await make_build()
    states = [(await _build(store, build.id)).status for build in (running, others, waiting, newest)]
    assert states == [BuildStatus.RUNNING, BuildStatus.QUEUED, BuildStatus.SUPERSEDED, BuildStatus.QUEUED]
    ended = await store.jobs.get(waiting_job.id)
    assert ended is not None
    assert (ended.status, ended.result) == (JobStatus.CANCELLED, "a newer push took its place (build 3)")
    assert (await _job(store, newest_job.id)).status is JobStatus.QUEUED


async def test_a_build_runs_and_ends_once(store: Store, shop: App, make_build: Any) -> None:
    build, _ = await make_build()
    started = await store.builds.start(build.id)
    assert (started.status, started.started_at is None) == (BuildStatus.RUNNING, False)
    assert await store.builds.start(build.id) == started
    ended = await store.builds.finish(
        build.id,
        BuildStatus.SUCCEEDED,
        image="sha256:1",
        provider="python",
        processes=[ProcessType("web", ("a",))],
        release_command=("b",),
    )
    assert (ended.image, ended.provider, ended.processes, ended.release_command) == (
        "sha256:1",
        "python",
        (ProcessType("web", ("a",)),),
        ("b",),
    )
    assert ended.finished_at is not None
    assert await store.builds.finish(build.id, BuildStatus.FAILED, failure="late") == ended
    assert await store.builds.start(build.id) == ended
    with pytest.raises(NotFoundError):
        await store.builds.finish("nothing", BuildStatus.FAILED)


async def test_the_newest_successful_build_of_a_commit_is_reusable(
    store: Store, shop: App, ann: User, make_build: Any
) -> None:
    blog = await store.apps.create("blog", ann.id)
    ends = [("a", "one"), ("a", "two"), ("a", None), ("b", "three")]
    for commit, image in ends:
        build, job = await make_build(commit=commit)
        await store.jobs.claim("me")
        await store.builds.finish(
            build.id, BuildStatus.SUCCEEDED if image else BuildStatus.FAILED, image=image
        )
        await store.jobs.finish(job.id, JobStatus.DONE, None)
    found = await store.builds.reusable(shop.id, "a")
    assert found is not None
    assert found.image == "two"
    assert await store.builds.reusable(blog.id, "a") is await store.builds.reusable(shop.id, "c") is None


async def test_cancelling_a_waiting_build_ends_it_and_its_job(
    store: Store, shop: App, make_build: Any
) -> None:
    build, job = await make_build()
    assert await store.builds.request_cancel(build.id)
    assert (await _build(store, build.id)).status is BuildStatus.CANCELLED
    assert (await _job(store, job.id)).status is JobStatus.CANCELLED
    assert not await store.builds.request_cancel(build.id)
    assert not await store.builds.request_cancel("nothing")
    assert await store.jobs.claim("me") is None


async def test_cancelling_a_waiting_job_ends_its_build(store: Store, shop: App, make_build: Any) -> None:
    build, job = await make_build()
    assert await store.jobs.cancel_waiting(job.id)
    assert (await _build(store, build.id)).status is BuildStatus.CANCELLED


async def test_cancelling_a_running_build_notes_the_wish(store: Store, shop: App, make_build: Any) -> None:
    build, job = await make_build()
    await store.jobs.claim("me")
    await store.builds.start(build.id)
    assert await store.builds.request_cancel(build.id)
    now = await _build(store, build.id)
    assert (now.status, now.cancel_requested) == (BuildStatus.RUNNING, True)
    assert (await _job(store, job.id)).status is JobStatus.RUNNING
