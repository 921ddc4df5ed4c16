"""From a pushed commit to a live release. Read this file and you know the product.

    receive -> detect -> build -> release -> roll out -> route

Receiving is done when a build job starts: objects are in quarantine, the ref has not moved. If any stage
raises, the push is refused, the ref stays where it was, and the old release never stopped serving.
"""

from dataclasses import dataclass

from buildpacks.plan import Plan
from cygni.domain.models import App, Build, Release
from cygni.images import BuiltRelease, Images
from cygni.lanes import DeployLane
from cygni.output import Narrator
from cygni.releases import Releases
from cygni.sources import Source, Sources


@dataclass(frozen=True)
class Pipeline:
    """The stages of a push, each doing one thing, joined in `push_to_live`."""

    sources: Sources
    images: Images
    releases: Releases
    deploy_lane: DeployLane

    async def push_to_live(self, app: App, build: Build, say: Narrator, *, fresh: bool = False) -> Release:
        """Take a received commit live; every stage is announced to whoever pushed.

        Raises:
            BuildError: nothing was detected, the plan or the build failed; nothing has been started.
            ReleaseError: the new release did not come up; the old one goes on serving.
        """
        async with self.sources.open(app, build) as source:
            await self._received(source, say)
            plan = await self._detect(source, say)
            image = await self._build(source, plan, say, fresh=fresh)
        return await self.deploy_lane.run(app, build.author, lambda: self._go_live(source, image, say))

    async def _received(self, source: Source, say: Narrator) -> None:
        await say.step(f"Received {source.commit[:7]} on {source.branch}: {source.subject}".rstrip(": "))

    async def _detect(self, source: Source, say: Narrator) -> Plan:
        plan = await self.images.plan(source)
        await say.step(f"Detected {plan.provider}")
        await say.details(self.images.describe(plan))
        return plan

    async def _build(self, source: Source, plan: Plan, say: Narrator, *, fresh: bool) -> BuiltRelease:
        await say.step(f"Building {source.app.name}")
        image = await self.images.build(source, plan, say, fresh=fresh)
        await say.detail(f"Image {image.short_id}, {image.size >> 20} MiB, in {image.seconds:.1f} s")
        return image

    async def _go_live(self, source: Source, image: BuiltRelease, say: Narrator) -> Release:
        release = await self.releases.create(source, image)
        await say.step(f"Releasing v{release.version}")
        await self.releases.roll_out(source.app, release, say)
        await say.detail(f"Released v{release.version}")
        await say.detail(self.releases.url(source.app))
        return release
