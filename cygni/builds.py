"""Builds as people meet them: queued, followed, cancelled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from cygni import messages
from cygni.domain.models import App, Build, BuildStatus, Job
from cygni.jobs import Worker
from cygni.logs import BuildLogs
from cygni.output import Narrator
from cygni.store import Store

JOB_LIMIT = 4 * 3600.0
FRESH = "fresh"
"""Key in the payload of a build that uses nothing of earlier ones."""


class Builds:
    """Queues builds and ends them; the pipeline does the work."""

    def __init__(self, store: Store, worker: Worker, build_logs: BuildLogs) -> None:
        self._store = store
        self._worker = worker
        self._build_logs = build_logs

    async def enqueue(
        self,
        app: App,
        *,
        commit: str,
        ref: str,
        message: str,
        author: str,
        quarantine: Path | None,
        fresh: bool = False,
    ) -> tuple[Build, Job]:
        """Record a build and its job in one transaction; older waiting ones of the app are superseded.

        With `fresh`, nothing that earlier builds left is used.
        """
        build, job = await self._store.builds.enqueue(
            app.id,
            commit=commit,
            ref=ref,
            message=message,
            author=author,
            quarantine=str(quarantine) if quarantine else None,
            payload={FRESH: "yes"} if fresh else {},
        )
        self._build_logs.writer(build.id)  # from now on followers have something to wait for
        return build, job

    @asynccontextmanager
    async def following(self, output_id: str, job: Job) -> AsyncIterator[AsyncIterator[str]]:
        """Yield the lines of a job's output; they end when the job has ended, whatever became of its handler."""
        self._build_logs.writer(output_id)
        closer = asyncio.create_task(self._close_at_end(output_id, job))
        try:
            yield self._build_logs.follow(output_id)
        finally:
            closer.cancel()
            await asyncio.gather(closer, return_exceptions=True)

    async def _close_at_end(self, output_id: str, job: Job) -> None:
        await self._worker.wait(job.id, timeout=JOB_LIMIT)
        await self._build_logs.writer(output_id).close()

    async def cancel(self, build: Build, who: str) -> bool:
        """Stop a build that waits or runs; False when it had ended. Returns when it has stopped."""
        if not await self._store.builds.request_cancel(build.id):
            return False
        await Narrator(self._build_logs.writer(build.id).line).problem(messages.cancelled_by(who))
        if build.job_id is not None:
            await self._worker.cancel(build.job_id)
        current = await self._store.builds.get(build.id)
        if current is not None and not current.status.final:
            await self._store.builds.finish(
                build.id,
                BuildStatus.CANCELLED,
                failure=messages.build_cancelled(),
                failure_id="build/cancelled",
            )
        return True
