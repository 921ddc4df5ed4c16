"""Builds images again that live releases need and the engine does not have: after a restore, or on another engine."""

from collections.abc import Callable
from dataclasses import replace

import structlog

from buildpacks.buildkit.client import EngineRequestError, EngineUnavailableError
from buildpacks.tree import TreeError
from cygni import messages
from cygni.domain.errors import BuildError, ReleaseError
from cygni.domain.models import App, Job, Lane, Release
from cygni.images import Images
from cygni.output import Narrator
from cygni.sources import Sources
from cygni.store import Store
from deployer.ports import Report

REBUILD = "rebuild"
AUTHOR = "server"

log = structlog.get_logger()


class Rebuilds:
    """Looks once, when a server starts; each missing image is a job in its app's build lane.

    `missing` holds the apps that wait for one, so that nobody tries to start instances of it meanwhile; `mark` has
    an app looked at when its image is there.
    """

    def __init__(
        self,
        store: Store,
        sources: Sources,
        images: Images,
        report: Report,
        missing: set[str],
        mark: Callable[[str], None],
    ) -> None:
        self._store = store
        self._sources = sources
        self._images = images
        self._report = report
        self._missing = missing
        self._mark = mark

    async def look(self) -> None:
        """Enqueue a job for each live release without an image; an engine that does not answer is let be."""
        for release in await self._store.releases.all_live():
            try:
                there = await self._images.exists(release.image)
            except (EngineUnavailableError, EngineRequestError) as error:
                log.warning("whether images are there is not known", error=str(error))
                return
            if not there:
                self._missing.add(release.app_id)
                payload = {"version": str(release.version)}
                await self._store.jobs.enqueue(release.app_id, Lane.BUILD, REBUILD, payload, AUTHOR)
                log.info("image is missing", app=release.app_id, version=release.version)

    async def rebuild(self, app: App, job: Job, say: Narrator) -> str | None:
        """Build the live release's commit with that release's config; all its releases of that image get the new one."""
        del job
        release = await self._store.releases.live(app.id)
        try:
            if release is None or await self._images.exists(release.image):
                return None
            await self._report(app.id, f"The image of v{release.version} is missing; building it again")
            try:
                image = await self._build(app, release, say)
            except BuildError as error:
                await self._report(app.id, messages.rebuild_failed(release, error.headline))
                raise
            await self._store.releases.replace_image(app.id, release.image, image)
            await self._report(app.id, f"The image of v{release.version} is there again")
            return f"v{release.version}"
        finally:
            self._missing.discard(app.id)
            self._mark(app.id)

    async def _build(self, app: App, release: Release, say: Narrator) -> str:
        build = await self._store.builds.get(release.build_id) if release.build_id else None
        if build is None:
            raise ReleaseError(messages.commit_gone(release))
        build = replace(build, commit=release.commit, quarantine=None)
        try:
            async with self._sources.open(app, build) as opened:
                source = replace(opened, config=release.config)
                await say.step(f"Building v{release.version} of {app.name} again")
                built = await self._images.build(source, await self._images.plan(source), say)
        except TreeError as error:
            await self._report(app.id, messages.commit_gone(release))
            raise ReleaseError(messages.commit_gone(release)) from error
        return built.image
