"""The worker: claims jobs as lanes and slots become free, and keeps the queue true whatever ends first."""

import asyncio
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

import structlog

from cygni.domain.errors import NotFoundError, TransientError
from cygni.domain.models import Job, JobStatus, Lane
from cygni.jobs.kinds import JobKind, Retry, Timing
from cygni.jobs.performing import Outcome, perform
from cygni.store import QUEUE, Store

INTERRUPTED = "The server stopped while this ran."
ABANDONED_SECONDS = 60.0

log = structlog.get_logger()


class Worker:
    """Runs jobs: one of an app and lane by the schema, so many of a lane at once by `concurrency`.

    `exclusive` says that this is the only worker on the database: what others left running is abandoned.
    Otherwise that is so once their owner was silent for `timing.dead_after`.
    """

    def __init__(
        self,
        store: Store,
        kinds: Mapping[str, JobKind],
        owner: str,
        concurrency: Mapping[Lane, int],
        *,
        exclusive: bool = True,
        retry: Retry | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._store = store
        self._kinds = dict(kinds)
        # A life of its own: what an earlier life under the same name left running is not ours.
        self._owner = f"{owner}/{secrets.token_hex(4)}"
        self._concurrency = dict(concurrency)
        self._exclusive = exclusive
        self._retry = retry or Retry()
        self._timing = timing or Timing()
        self._handlers: dict[str, asyncio.Task[Outcome]] = {}
        self._lanes: dict[str, Lane] = {}
        self._cancelled: set[str] = set()
        self._claiming = asyncio.Lock()
        self._recovered = False
        self._running = False
        self._stopping = asyncio.Event()
        self._stopped = asyncio.Event()
        self._grace = 0.0

    def register(self, kinds: Mapping[str, JobKind]) -> None:
        """Add kinds of jobs, before `run`."""
        self._kinds.update(kinds)

    async def run(self) -> None:
        """Take up what a dead worker left, then work until `stop`. Cancelled, it stops without grace."""
        self._running = True
        try:
            await self._recover()
            async with asyncio.TaskGroup() as tasks:
                beats = tasks.create_task(self._beat())
                await self._drain(await self._dispatch(tasks))
                beats.cancel()
        finally:
            self._stopped.set()

    async def stop(self, grace: float) -> None:
        """Claim nothing more, give what runs `grace` seconds, then cancel it: it is abandoned, as if we had died.

        Returns when `run` has ended, or is overdue.
        """
        self._grace = grace
        self._stopping.set()
        self._store.jobs.notifier.publish(QUEUE)
        if self._running:
            with suppress(TimeoutError):
                async with asyncio.timeout(grace + 2 * self._timing.cancel):
                    await self._stopped.wait()

    async def wait(self, job_id: str, timeout: float) -> Job:
        """Return the job once it has ended.

        Raises:
            TimeoutError: it has not, within so many seconds.
            NotFoundError: no such job.
        """
        with self._store.jobs.notifier.subscribe(job_id) as ended:
            async with asyncio.timeout(timeout):
                while True:
                    ended.clear()
                    job = await self._store.jobs.get(job_id)
                    if job is None:
                        raise NotFoundError("There is no such job.")
                    if job.status.final:
                        return job
                    await self._woken(ended)

    async def cancel(self, job_id: str) -> bool:
        """Cancel a job that waits or runs here; False when it does neither. `wait` tells when it has ended."""
        async with self._claiming:  # between the claim and the start of its handler it would be neither
            handler = self._handlers.get(job_id)
            if handler is None:
                return await self._store.jobs.cancel_waiting(job_id)
            if not handler.done():
                self._cancelled.add(job_id)
            return handler.cancel()

    # Claiming

    async def _dispatch(self, tasks: asyncio.TaskGroup) -> set[asyncio.Task[None]]:
        """Start jobs until told to stop; returns those that still run."""
        carried: set[asyncio.Task[None]] = set()
        try:
            with self._store.jobs.notifier.subscribe(QUEUE) as changed:
                while not self._stopping.is_set():
                    changed.clear()
                    if not await self._start_next(tasks, carried):
                        await self._woken(changed)
        finally:
            self._stopping.set()
        return carried

    async def _start_next(self, tasks: asyncio.TaskGroup, carried: set[asyncio.Task[None]]) -> bool:
        with self._reported("claiming a job") as problem:
            async with self._claiming:
                job = await self._claim()
                if job is None:
                    return False
                self._start(job, tasks, carried)
        if problem:
            await asyncio.sleep(self._retry.delay(1))
        return True

    def _start(self, job: Job, tasks: asyncio.TaskGroup, carried: set[asyncio.Task[None]]) -> None:
        handler = asyncio.create_task(perform(self._kinds.get(job.kind), job, self._retry))
        self._lanes[job.id], self._handlers[job.id] = job.lane, handler
        task = tasks.create_task(self._carry(job, handler))
        carried.add(task)
        task.add_done_callback(carried.discard)
        # A task that is cancelled before its first step never sees it, so this cannot be left to `_carry`.
        task.add_done_callback(lambda _: handler.cancel())

    async def _claim(self) -> Job | None:
        free = self._free_lanes()
        return await self._store.jobs.claim(self._owner, free) if free else None

    def _free_lanes(self) -> list[Lane]:
        busy = Counter(self._lanes.values())
        return [lane for lane, slots in self._concurrency.items() if busy[lane] < slots]

    async def _woken(self, event: asyncio.Event) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.poll):
                await event.wait()

    # Carrying a job to its end

    async def _carry(self, job: Job, handler: asyncio.Task[Outcome]) -> None:
        interrupted = False
        try:
            try:
                await asyncio.wait({handler})
            except asyncio.CancelledError:
                interrupted = True
                handler.cancel()
                await asyncio.wait({handler}, timeout=self._timing.cancel)
            with self._reported("ending a job"):
                await self._settle(job, handler, interrupted)
        finally:
            self._forget(job)

    def _forget(self, job: Job) -> None:
        was_full = job.lane not in self._free_lanes()
        self._handlers.pop(job.id, None)
        self._lanes.pop(job.id, None)
        self._cancelled.discard(job.id)
        if was_full:  # the end of the job was announced when it was written, but the slot is free only now
            self._store.jobs.notifier.publish(QUEUE)

    async def _settle(self, job: Job, handler: asyncio.Task[Outcome], interrupted: bool) -> None:
        if not handler.done():
            log.error("a handler does not end; its job is left to the next server", job=job.id, kind=job.kind)
        elif not handler.cancelled():
            await self._finish(job, handler.result())
        elif job.id in self._cancelled:
            await self._finish(job, Outcome(JobStatus.CANCELLED, "cancelled"))
        elif interrupted:
            await self._abandon(job)
        else:
            await self._finish(job, Outcome(JobStatus.FAILED, "It was cancelled."))

    async def _finish(self, job: Job, outcome: Outcome) -> None:
        """Write the end of a job. While that cannot be written its lane stays closed, until the worker stops."""
        failed = 0
        while True:
            with self._reported("writing the end of a job") as problem:
                await self._store.jobs.finish(job.id, outcome.status, outcome.result, owner=self._owner)
            failed += 1
            if not problem or (self._stopping.is_set() and failed >= self._retry.tries):
                return
            await asyncio.sleep(self._retry.delay(failed))

    async def _drain(self, carried: set[asyncio.Task[None]]) -> None:
        if carried:
            await asyncio.wait(carried, timeout=self._grace)
        for task in carried:
            task.cancel()

    # Staying alive, and taking over from the dead

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(self._timing.heartbeat)
            with self._reported("the heartbeat"):
                await self._heartbeat()
            if not (self._exclusive and self._recovered):
                await self._recover()

    async def _heartbeat(self) -> None:
        held = set(self._handlers)
        if not held:
            return
        mine = await self._store.jobs.heartbeat(self._owner)
        for job_id in held - mine:
            handler = self._handlers.get(job_id)
            if handler is not None and not handler.done():
                log.error("another worker took this job over", job=job_id)
                handler.cancel()

    async def _recover(self) -> None:
        silence = 0.0 if self._exclusive else self._timing.dead_after
        with self._reported("taking over abandoned jobs"):
            for job in await self._store.jobs.abandoned(self._owner, silence):
                if await self._store.jobs.take_over(job, self._owner):
                    await self._abandon(job)
            self._recovered = True

    async def _abandon(self, job: Job) -> None:
        log.warning("job was abandoned", job=job.id, kind=job.kind, app=job.app_id, owner=job.owner)
        kind = self._kinds.get(job.kind)
        if kind is not None and kind.on_abandoned is not None:
            with self._reported("tidying up after an abandoned job"):
                async with asyncio.timeout(ABANDONED_SECONDS):
                    await kind.on_abandoned(job)
        if kind is not None and kind.abandoned == "requeue":
            await self._store.jobs.requeue(job.id, owner=self._owner)
        else:
            await self._finish(job, Outcome(JobStatus.FAILED, INTERRUPTED))

    @contextmanager
    def _reported(self, what: str) -> Iterator[list[Exception]]:
        """Log an error and go on: the worker outlives an ailing database and others' mistakes."""
        problem: list[Exception] = []
        try:
            yield problem
        except Exception as error:
            problem.append(error)
            expected = isinstance(error, TransientError)
            log.error("worker problem", doing=what, error=str(error), exc_info=None if expected else error)
