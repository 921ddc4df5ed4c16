"""What becomes of a job: results, failures, retries, limits, concurrency, waiting, cancelling."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cygni.domain.errors import NotFoundError, TransientError, UserError
from cygni.domain.models import App, Job, JobStatus, Lane
from cygni.jobs import JobKind, Worker
from cygni.store import Store

StartWorker = Callable[..., Awaitable[Worker]]


async def _enqueue(store: Store, app: App, kind: str = "work", lane: Lane = Lane.DEPLOY) -> Job:
    return await store.jobs.enqueue(app.id, lane, kind, {"a": "b"}, "ann")


async def _ended(store: Store, worker: Worker, app: App, kind: str = "work") -> tuple[JobStatus, str | None]:
    job = await worker.wait((await _enqueue(store, app, kind)).id, timeout=5)
    return job.status, job.result


async def test_a_job_is_done_with_the_line_its_handler_returned(
    store: Store, shop: App, start: StartWorker
) -> None:
    async def handle(job: Job) -> str:
        return f"{job.payload['a']} for {job.author}"

    worker = await start({"work": JobKind(handle)})
    assert await _ended(store, worker, shop) == (JobStatus.DONE, "b for ann")


async def test_jobs_enqueued_before_the_start_and_kinds_registered_late_are_run(
    store: Store, shop: App, start: StartWorker
) -> None:
    async def handle(_: Job) -> None:
        return None

    job = await _enqueue(store, shop)
    worker = await start({})
    worker.register({"work": JobKind(handle)})
    assert (await worker.wait(job.id, timeout=5)).status is JobStatus.DONE


async def test_every_error_of_a_handler_fails_its_job_with_its_text_and_the_worker_goes_on(
    store: Store, shop: App, start: StartWorker
) -> None:
    async def user(_: Job) -> None:
        raise UserError("Push to it first.")

    async def bug(_: Job) -> None:
        raise ZeroDivisionError("one by none")

    async def group(_: Job) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(user(_))

    async def own_timeout(_: Job) -> None:
        raise TimeoutError("the probe gave up")

    async def cancels_itself(_: Job) -> None:
        raise asyncio.CancelledError

    async def long_text(_: Job) -> None:
        raise UserError("x" * 1_000_000)

    kinds = {f.__name__: JobKind(f) for f in (user, bug, group, own_timeout, cancels_itself, long_text)}
    worker = await start(kinds)
    assert await _ended(store, worker, shop, "user") == (JobStatus.FAILED, "Push to it first.")
    assert await _ended(store, worker, shop, "bug") == (JobStatus.FAILED, "ZeroDivisionError: one by none")
    assert await _ended(store, worker, shop, "group") == (JobStatus.FAILED, "Push to it first.")
    assert await _ended(store, worker, shop, "own_timeout") == (
        JobStatus.FAILED,
        "TimeoutError: the probe gave up",
    )
    assert await _ended(store, worker, shop, "cancels_itself") == (JobStatus.FAILED, "It was cancelled.")
    assert await _ended(store, worker, shop, "unheard of") == (
        JobStatus.FAILED,
        "This server does not know how to do 'unheard of'.",
    )
    _, text = await _ended(store, worker, shop, "long_text")
    assert text == "x" * 4000


async def test_a_handler_that_takes_too_long_fails_its_job(
    store: Store, shop: App, start: StartWorker
) -> None:
    async def hang(_: Job) -> None:
        await asyncio.Event().wait()

    worker = await start({"work": JobKind(hang, limit=0.05)})
    assert await _ended(store, worker, shop) == (JobStatus.FAILED, "It took longer than 0.05 seconds.")


async def test_a_transient_error_is_tried_again_but_not_for_ever(
    store: Store, shop: App, start: StartWorker
) -> None:
    tries: Counter[str] = Counter()

    async def twice(job: Job) -> str:
        tries[job.kind] += 1
        if tries[job.kind] < 3:
            raise TransientError("not yet")
        return "now"

    async def never(job: Job) -> None:
        tries[job.kind] += 1
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(fail())

    async def fail() -> None:
        raise TransientError("never")

    worker = await start({"twice": JobKind(twice), "never": JobKind(never)})
    assert await _ended(store, worker, shop, "twice") == (JobStatus.DONE, "now")
    assert await _ended(store, worker, shop, "never") == (JobStatus.FAILED, "never")
    assert tries == {"twice": 3, "never": 3}


class Gauge:
    """A handler that counts how many of it run at once, in all and per app and lane."""

    def __init__(self) -> None:
        self.now: Counter[tuple[str, str]] = Counter()
        self.most_in_a_lane = 0
        self.most = 0

    async def __call__(self, job: Job) -> None:
        place = (job.app_id, job.lane)
        self.now[place] += 1
        self.most_in_a_lane = max(self.most_in_a_lane, self.now[place])
        self.most = max(self.most, self.now.total())
        await asyncio.sleep(0.03)
        self.now[place] -= 1


async def test_two_workers_never_run_two_jobs_of_an_app_and_lane(
    store: Store, url: str, tmp_path: Path, apps: list[App], start: StartWorker
) -> None:
    gauge = Gauge()
    other = await Store.open(url, tmp_path / "secret.key")
    try:
        jobs = [await _enqueue(store, app, lane=lane) for _ in range(5) for app in apps for lane in Lane]
        workers = [await start({"work": JobKind(gauge)}, on=on, exclusive=False) for on in (store, other)]
        ended = await asyncio.gather(*(workers[0].wait(job.id, timeout=20) for job in jobs))
        for worker in workers:
            await worker.stop(1)
    finally:
        await other.close()
    assert {job.status for job in ended} == {JobStatus.DONE}
    assert len({job.owner for job in ended}) == 2
    assert gauge.most_in_a_lane == 1
    assert gauge.most > 1


async def test_slots_bound_how_many_of_a_lane_run(store: Store, apps: list[App], start: StartWorker) -> None:
    began: asyncio.Queue[Job] = asyncio.Queue()
    go = asyncio.Event()

    async def handle(job: Job) -> None:
        began.put_nowait(job)
        await go.wait()

    jobs = [await _enqueue(store, app) for app in apps]
    worker = await start({"work": JobKind(handle)}, slots=2)
    async with asyncio.timeout(5):
        await began.get()
        await began.get()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(began.get(), 0.2)
    go.set()
    for job in jobs:
        assert (await worker.wait(job.id, timeout=5)).status is JobStatus.DONE


async def test_a_freed_slot_and_lane_are_taken_at_once_without_polling(
    store: Store, apps: list[App], start: StartWorker
) -> None:
    async def handle(_: Job) -> None:
        return None

    worker = await start({"work": JobKind(handle)}, slots=1)
    began = time.monotonic()
    jobs = [await _enqueue(store, app) for app in apps for _ in range(5)]
    await asyncio.gather(*(worker.wait(job.id, timeout=10) for job in jobs))
    assert time.monotonic() - began < 20 * 0.5 / 2, "20 jobs in less than half of 20 polls"


async def test_a_job_enqueued_by_another_process_is_found_by_polling(
    store: Store, url: str, tmp_path: Path, shop: App, start: StartWorker
) -> None:
    async def handle(_: Job) -> None:
        return None

    worker = await start({"work": JobKind(handle)})
    other = await Store.open(url, tmp_path / "secret.key")
    try:
        job = await _enqueue(other, shop)
        assert (await worker.wait(job.id, timeout=5)).status is JobStatus.DONE
    finally:
        await other.close()


async def test_waiting_has_a_limit_and_an_unknown_job_is_told(
    store: Store, shop: App, start: StartWorker
) -> None:
    worker = await start({}, slots=0)
    job = await _enqueue(store, shop)
    with pytest.raises(TimeoutError):
        await worker.wait(job.id, timeout=0.05)
    with pytest.raises(NotFoundError):
        await worker.wait("nothing", timeout=5)


async def test_a_superseded_build_wakes_who_waits_for_it(store: Store, shop: App, start: StartWorker) -> None:
    worker = await start({}, slots=0)

    async def push() -> Job:
        _, job = await store.builds.enqueue(
            shop.id, commit="c", ref="r", message="m", author="a", quarantine=None, payload={}
        )
        return job

    waiting = asyncio.create_task(worker.wait((await push()).id, timeout=5))
    await push()
    assert (await waiting).status is JobStatus.CANCELLED


async def test_cancelling_stops_a_running_handler_or_removes_a_waiting_job(
    store: Store, shop: App, start: StartWorker
) -> None:
    cleaned = asyncio.Event()
    began = asyncio.Event()

    async def hang(_: Job) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            cleaned.set()

    worker = await start({"work": JobKind(hang)})
    first, second = await _enqueue(store, shop), await _enqueue(store, shop)
    await began.wait()
    assert await worker.cancel(second.id)
    assert await worker.cancel(first.id)
    for job in (first, second):
        ended = await worker.wait(job.id, timeout=5)
        assert (ended.status, ended.result) == (JobStatus.CANCELLED, "cancelled")
    assert cleaned.is_set()
    assert not await worker.cancel(first.id)
    assert not await worker.cancel("nothing")


async def test_a_cancel_is_never_lost_between_the_claim_and_the_start(
    store: Store, apps: list[App], start: StartWorker
) -> None:
    async def hang(_: Job) -> None:
        await asyncio.Event().wait()

    worker = await start({"work": JobKind(hang)})
    for _ in range(15):
        jobs = [await _enqueue(store, app) for app in apps]
        assert all(await asyncio.gather(*(worker.cancel(job.id) for job in jobs)))
        ended = await asyncio.gather(*(worker.wait(job.id, timeout=5) for job in jobs))
        assert {job.status for job in ended} == {JobStatus.CANCELLED}


async def test_a_handler_that_ends_in_spite_of_a_cancel_keeps_its_result(
    store: Store, shop: App, start: StartWorker
) -> None:
    began = asyncio.Event()

    async def stubborn(_: Job) -> str:
        began.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "past the point of no return"
        return ""

    worker = await start({"work": JobKind(stubborn)})
    job = await _enqueue(store, shop)
    await began.wait()
    await worker.cancel(job.id)
    assert (await worker.wait(job.id, timeout=5)).result == "past the point of no return"


async def test_destroying_its_own_app_is_a_job_that_can_be_waited_for(
    store: Store, shop: App, start: StartWorker
) -> None:
    async def destroy(job: Job) -> str:
        await store.apps.delete(job.app_id)
        return "gone"

    worker = await start({"work": JobKind(destroy)})
    assert await _ended(store, worker, shop) == (JobStatus.DONE, "gone")
