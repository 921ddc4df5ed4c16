"""The deploy lane: one roll-out of an app at a time, by the schema, whoever asks for it."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from cygni.domain.errors import CygniError
from cygni.domain.models import App, Job, Lane
from cygni.jobs import Worker
from cygni.store import Store

T = TypeVar("T")

INLINE_KIND = "deploy"
BODY_LIMIT = 30.0
LANE_LIMIT = 2 * 3600.0


class LaneLostError(CygniError):
    """The job that held the lane ended without running what it was for."""


@dataclass
class _Errand(Generic[T]):
    """What a job of this kind shall do, and what came of it."""

    body: Callable[[], Awaitable[T]]
    outcome: "asyncio.Future[T]"


class DeployLane:
    """Runs a coroutine as a job of the deploy lane, and returns what it returns.

    The job is a row like any other, so a roll-out of a push excludes `config:set` and `rollback` by the same
    unique index; only its body lives in the memory of the process that pushed.
    """

    def __init__(self, store: Store, worker: Worker) -> None:
        self._store = store
        self._worker = worker
        self._errands: defaultdict[str, asyncio.Future[_Errand[Any]]] = defaultdict(
            lambda: asyncio.get_running_loop().create_future()
        )

    async def run(self, app: App, author: str, body: Callable[[], Awaitable[T]]) -> T:
        """Wait for the app's deploy lane, run `body` in it, return its result or raise its error."""
        errand = _Errand(body, asyncio.get_running_loop().create_future())
        job = await self._store.jobs.enqueue(app.id, Lane.DEPLOY, INLINE_KIND, {}, author)
        self._errands[job.id].set_result(errand)
        try:
            ended = await self._worker.wait(job.id, timeout=LANE_LIMIT)
        except asyncio.CancelledError:
            await self._worker.cancel(job.id)
            await self._worker.wait(job.id, timeout=LANE_LIMIT)
            raise
        finally:
            self._errands.pop(job.id, None)
        if not errand.outcome.done():
            raise LaneLostError(ended.result or str(ended.status))
        result: T = errand.outcome.result()
        return result

    async def handle(self, job: Job) -> None:
        """The worker's handler of this kind."""
        errand = await asyncio.wait_for(self._errands[job.id], BODY_LIMIT)
        try:
            errand.outcome.set_result(await errand.body())
        except Exception as error:
            errand.outcome.set_exception(error)
            raise
