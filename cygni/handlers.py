"""The kinds of jobs: what each does, what it says while it runs, and what a crash in its middle means."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from cygni import engine_errors, messages
from cygni.builds import FRESH
from cygni.domain.errors import BuildError, ConflictError, NotFoundError, UserError
from cygni.domain.models import App, Build, BuildStatus, Job
from cygni.jobs import JobKind
from cygni.lanes import INLINE_KIND, DeployLane
from cygni.logs import BuildLogs
from cygni.operations import CONFIG, DESTROY, RESTART, ROLLBACK, SCALE
from cygni.output import Narrator
from cygni.pipeline import Pipeline
from cygni.rebuilds import REBUILD, Rebuilds
from cygni.releases import Releases
from cygni.store import Store
from cygni.teardown import Teardown

BUILD = "build"
Operate = Callable[[App, Job, Narrator], Awaitable[str | None]]

log = structlog.get_logger()


class Handlers:
    """Joins the worker to the pipeline and the use cases."""

    def __init__(
        self,
        store: Store,
        build_logs: BuildLogs,
        pipeline: Pipeline,
        releases: Releases,
        deploy_lane: DeployLane,
        teardown: Teardown,
        rebuilds: Rebuilds,
    ) -> None:
        self._store = store
        self._build_logs = build_logs
        self._pipeline = pipeline
        self._releases = releases
        self._deploy_lane = deploy_lane
        self._teardown = teardown
        self._rebuilds = rebuilds

    def kinds(self) -> dict[str, JobKind]:
        """Every job kind. A push that a crash interrupted is pushed again by its owner; what was acknowledged
        (config, scale, rollback, restart, destroy) is done by the next server.
        """
        return {
            BUILD: JobKind(self._build, abandoned="fail", on_abandoned=self._interrupt_build),
            INLINE_KIND: JobKind(self._deploy_lane.handle, abandoned="fail"),
            CONFIG: JobKind(self._operation(self._releases.change_config), abandoned="requeue"),
            SCALE: JobKind(self._operation(self._releases.scale), abandoned="requeue"),
            RESTART: JobKind(self._operation(self._releases.restart), abandoned="requeue"),
            ROLLBACK: JobKind(self._operation(self._releases.roll_back), abandoned="requeue"),
            REBUILD: JobKind(self._operation(self._rebuilds.rebuild), abandoned="requeue"),
            DESTROY: JobKind(self._operation(self._teardown.destroy), abandoned="requeue"),
        }

    async def _build(self, job: Job) -> str:
        build = await self._require_build(job)
        app = await self._require_app(job)
        async with self._narrator(build.id) as say:
            await self._store.builds.start(build.id)
            try:
                if app.destroying:
                    raise ConflictError(messages.being_destroyed(app.name))
                fresh = FRESH in job.payload
                release = await self._pipeline.push_to_live(app, build, say, fresh=fresh)
            except BuildError as error:
                await self._end(build, BuildStatus.FAILED, error.headline, error.failure_id)
                await say.problem(str(error))
                raise
            except asyncio.CancelledError:
                await asyncio.shield(self._cancelled(build, say))
                raise
            except UserError as error:
                await say.problem(str(error))
                raise
            except Exception:
                await self._end(build, BuildStatus.FAILED, messages.unexpected(), "platform/unexpected")
                await say.problem(messages.unexpected())
                raise
        return f"v{release.version}"

    async def _cancelled(self, build: Build, say: Narrator) -> None:
        current = await self._store.builds.get(build.id)
        asked = current is not None and current.cancel_requested
        if asked:
            await self._end(build, BuildStatus.CANCELLED, messages.build_cancelled(), "build/cancelled")
        else:
            await self._end(build, BuildStatus.INTERRUPTED, messages.build_interrupted(), "build/interrupted")
        await say.problem(messages.build_cancelled_text() if asked else messages.build_interrupted_text())

    async def _interrupt_build(self, job: Job) -> None:
        """The control plane died: nothing of the build can be used, unless its release went live."""
        build = await self._store.builds.get(job.payload["build_id"])
        if build is None:
            return
        await self._end(build, BuildStatus.INTERRUPTED, messages.build_interrupted(), "build/interrupted")
        async with self._narrator(build.id) as say:
            await say.problem(messages.build_interrupted_text())

    async def _end(self, build: Build, status: BuildStatus, failure: str, failure_id: str) -> None:
        current = await self._store.builds.get(build.id)
        if current is not None and not current.status.final:
            await self._store.builds.finish(build.id, status, failure=failure, failure_id=failure_id)

    def _operation(self, operate: Operate) -> Callable[[Job], Awaitable[str | None]]:
        async def handle(job: Job) -> str | None:
            app = await self._require_app(job)
            async with self._narrator(job.id) as say:
                with engine_errors.explained():
                    return await operate(app, job, say)

        return handle

    @asynccontextmanager
    async def _narrator(self, output_id: str) -> AsyncIterator[Narrator]:
        writer = self._build_logs.writer(output_id)
        try:
            yield Narrator(writer.line)
        finally:
            await writer.close()

    async def _require_app(self, job: Job) -> App:
        app = await self._store.apps.by_id(job.app_id)
        if app is None:
            raise NotFoundError(messages.no_such_app(job.app_id))
        return app

    async def _require_build(self, job: Job) -> Build:
        build = await self._store.builds.get(job.payload["build_id"])
        if build is None:
            raise NotFoundError(messages.no_such_build(job.app_id, 0))
        return build
