"""Stops, crashes and take-over: no job is lost, none runs twice at once."""

import asyncio
import sqlite3
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from cygni.domain.models import App, Job, JobStatus, Lane
from cygni.jobs import INTERRUPTED, JobKind, Retry, Worker
from cygni.store import Store

StartWorker = Callable[..., Awaitable[Worker]]


class Hanging:
    """A handler that hangs until it is cancelled."""

    def __init__(self) -> None:
        self.began = asyncio.Event()

    async def __call__(self, _: Job) -> None:
        self.began.set()
        await asyncio.Event().wait()


async def _work(job: Job) -> str:
    return f"done by {job.owner}"


async def _enqueue(store: Store, app: App, kind: str = "work") -> Job:
    return await store.jobs.enqueue(app.id, Lane.DEPLOY, kind, {}, "ann")


async def _now(store: Store, job: Job) -> Job:
    found = await store.jobs.get(job.id)
    assert found is not None
    return found


def _execute(path: Path, sql: str) -> None:
    database = sqlite3.connect(path, isolation_level=None)
    database.execute(sql)
    database.close()


async def test_a_stopping_worker_lets_jobs_end_within_the_grace_and_claims_no_more(
    store: Store, shop: App, start: StartWorker
) -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def handle(_: Job) -> str:
        began.set()
        await go.wait()
        return "in time"

    worker = await start({"work": JobKind(handle)})
    first, second = await _enqueue(store, shop), await _enqueue(store, shop)
    await began.wait()
    stopping = asyncio.create_task(worker.stop(5))
    await asyncio.sleep(0)
    go.set()
    await stopping
    assert (await _now(store, first)).result == "in time"
    assert (await _now(store, second)).status is JobStatus.QUEUED


@pytest.mark.parametrize("by_cancelling", [False, True], ids=["stop", "cancelled run"])
async def test_a_worker_that_stops_without_grace_applies_the_policy_of_each_kind(
    store: Store, apps: list[App], by_cancelling: bool
) -> None:
    again, never = Hanging(), Hanging()
    tidied: list[str] = []

    async def tidy(job: Job) -> None:
        tidied.append(job.kind)

    kinds = {"again": JobKind(again, "requeue", tidy), "never": JobKind(never, "fail", tidy)}
    worker = Worker(store, kinds, "me", {Lane.DEPLOY: 4})
    running = asyncio.create_task(worker.run())
    first, second = await _enqueue(store, apps[0], "again"), await _enqueue(store, apps[1], "never")
    await asyncio.gather(again.began.wait(), never.began.wait())
    if by_cancelling:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
    else:
        await worker.stop(0)
        await running
    requeued, failed = await _now(store, first), await _now(store, second)
    assert (requeued.status, requeued.owner) == (JobStatus.QUEUED, None)
    assert (failed.status, failed.result) == (JobStatus.FAILED, INTERRUPTED)
    assert sorted(tidied) == ["again", "never"]


async def test_stopping_before_running_and_twice_is_fine(store: Store) -> None:
    worker = Worker(store, {}, "me", {Lane.DEPLOY: 1})
    await worker.stop(5)
    await worker.run()
    await worker.stop(5)


async def test_a_handler_that_ignores_its_cancelling_does_not_keep_the_worker(
    store: Store, shop: App, start: StartWorker
) -> None:
    began, release = asyncio.Event(), asyncio.Event()

    async def deaf(_: Job) -> None:
        began.set()
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    worker = await start({"work": JobKind(deaf)})
    job = await _enqueue(store, shop)
    await began.wait()
    async with asyncio.timeout(5):
        await worker.stop(0)
    assert (await _now(store, job)).status is JobStatus.RUNNING
    release.set()
    later = await start({"work": JobKind(_work, "requeue")})
    assert (await later.wait(job.id, timeout=5)).status is JobStatus.DONE


@pytest.mark.parametrize("policy", ["requeue", "fail"])
async def test_an_exclusive_worker_takes_up_at_once_what_an_earlier_life_left(
    store: Store, shop: App, start: StartWorker, policy: str
) -> None:
    job = await _enqueue(store, shop)
    await store.jobs.claim("me/earlier")
    tidied: list[Job] = []

    async def tidy(job: Job) -> None:
        tidied.append(job)
        raise OSError("tidying fails, and the job is taken up all the same")

    worker = await start({"work": JobKind(_work, policy, tidy)})  # type: ignore[arg-type]
    ended = await worker.wait(job.id, timeout=5)
    assert ended.status is (JobStatus.DONE if policy == "requeue" else JobStatus.FAILED)
    assert [found.id for found in tidied] == [job.id]


async def test_a_kind_that_is_no_longer_known_fails_when_it_was_abandoned(
    store: Store, shop: App, start: StartWorker
) -> None:
    job = await _enqueue(store, shop)
    await store.jobs.claim("me/earlier")
    worker = await start({})
    assert (await worker.wait(job.id, timeout=5)).result == INTERRUPTED


async def test_among_several_workers_only_a_silent_ones_jobs_are_taken(
    store: Store, apps: list[App], start: StartWorker
) -> None:
    lost = await _enqueue(store, apps[1], "lost")
    assert await store.jobs.claim("dead")
    alive = Hanging()
    kinds = {"alive": JobKind(alive, "requeue"), "lost": JobKind(_work, "requeue")}
    workers = [await start(kinds, exclusive=False) for _ in range(2)]
    held = await _enqueue(store, apps[0], "alive")
    await alive.began.wait()
    owner = (await _now(store, held)).owner
    assert (await workers[0].wait(lost.id, timeout=5)).status is JobStatus.DONE
    now = await _now(store, held)
    assert (now.status, now.owner) == (JobStatus.RUNNING, owner)


async def test_a_worker_whose_job_was_taken_over_stops_its_handler_and_changes_nothing(
    store: Store, shop: App, start: StartWorker
) -> None:
    stopped, began = asyncio.Event(), asyncio.Event()

    async def handle(_: Job) -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()

    await start({"work": JobKind(handle)})
    job = await _enqueue(store, shop)
    await began.wait()
    assert await store.jobs.take_over(await _now(store, job), "heir")
    await asyncio.wait_for(stopped.wait(), 5)
    now = await _now(store, job)
    assert (now.status, now.owner) == (JobStatus.RUNNING, "heir")


async def test_a_database_that_ails_for_a_while_costs_no_job(
    store: Store, shop: App, start: StartWorker, tmp_path: Path
) -> None:
    began, go = asyncio.Event(), asyncio.Event()

    async def handle(_: Job) -> str:
        began.set()
        await go.wait()
        return "kept"

    # Patient, so that its tries leave the database to the statements below.
    worker = await start({"work": JobKind(handle)}, retry=Retry(first=0.3, longest=0.3))
    job = await _enqueue(store, shop)
    await began.wait()
    await asyncio.to_thread(_execute, tmp_path / "cygni.db", "ALTER TABLE jobs RENAME TO hidden")
    go.set()
    await asyncio.sleep(0.1)
    await asyncio.to_thread(_execute, tmp_path / "cygni.db", "ALTER TABLE hidden RENAME TO jobs")
    assert (await worker.wait(job.id, timeout=5)).result == "kept"
    assert (await worker.wait((await _enqueue(store, shop)).id, timeout=5)).result == "kept"


PROCESS = """
import asyncio, sys
from pathlib import Path
from cygni.domain.models import Lane
from cygni.jobs import JobKind, Worker
from cygni.store import Store

async def hang(job):
    print(job.kind, flush=True)
    await asyncio.Event().wait()

async def main(url, key_file):
    store = await Store.open(url, Path(key_file))
    await Worker(store, {"again": JobKind(hang), "never": JobKind(hang)}, "me", {Lane.DEPLOY: 4}).run()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.kill
async def test_after_kill_9_the_next_worker_finishes_or_fails_what_was_running(
    store: Store, url: str, tmp_path: Path, apps: list[App], start: StartWorker
) -> None:
    again, never = await _enqueue(store, apps[0], "again"), await _enqueue(store, apps[1], "never")
    waiting = await _enqueue(store, apps[1], "again")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", PROCESS, url, str(tmp_path / "secret.key"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        assert {await process.stdout.readline(), await process.stdout.readline()} == {b"again\n", b"never\n"}
        process.kill()
        await process.wait()
    worker = await start({"again": JobKind(_work, "requeue"), "never": JobKind(_work, "fail")})
    assert (await worker.wait(again.id, timeout=5)).status is JobStatus.DONE
    assert (await worker.wait(waiting.id, timeout=5)).status is JobStatus.DONE
    assert (await worker.wait(never.id, timeout=5)).status is JobStatus.FAILED
