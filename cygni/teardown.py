"""Destroying an app: instances, route, images, repository, logs, build output, rows; each step can be repeated."""

from cygni.domain.models import App, Job, Lane
from cygni.images import Images
from cygni.jobs import Worker
from cygni.logs import BuildLogs, LogStore
from cygni.output import Narrator
from cygni.releases import Releases
from cygni.repositories import Repositories
from cygni.routing import RouterRoutes
from cygni.store import Store

ALL_BUILDS = 1_000_000
BUILD_END_LIMIT = 60.0


class Teardown:
    """Removes everything that carries an app's name."""

    def __init__(
        self,
        store: Store,
        worker: Worker,
        releases: Releases,
        routes: RouterRoutes,
        images: Images,
        repositories: Repositories,
        logs: LogStore,
        build_logs: BuildLogs,
    ) -> None:
        self._store = store
        self._worker = worker
        self._releases = releases
        self._routes = routes
        self._images = images
        self._repositories = repositories
        self._logs = logs
        self._build_logs = build_logs

    async def destroy(self, app: App, job: Job, say: Narrator) -> None:
        """Remove the app; the row goes last, so that a crash in between is picked up again."""
        del job
        await say.step(f"Destroying {app.name}")
        await self._end_build(app)
        await self._releases.stop_all(app)
        await self._routes.forget(app.id)
        await self._images.remove_app(app.id)
        await self._repositories.remove(app.id)
        await self._logs.remove(app.id)
        for build in await self._store.builds.list(app.id, ALL_BUILDS):
            self._build_logs.remove(build.id)
        await self._store.apps.delete(app.id)
        await say.detail("done")

    async def _end_build(self, app: App) -> None:
        """A build that went on would leave an image of an app that is gone. None begins any more."""
        while (job := await self._store.jobs.running(app.id, Lane.BUILD)) is not None:
            await self._worker.cancel(job.id)
            await self._worker.wait(job.id, timeout=BUILD_END_LIMIT)
