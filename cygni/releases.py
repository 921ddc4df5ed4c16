"""Releases: made of an image, config and process types, taken live by the deployer, never changed afterwards."""

from collections.abc import Mapping

import structlog

from buildpacks.buildkit.redact import Redactor
from cygni import messages
from cygni.domain.errors import NotFoundError, ReleaseError, UserError
from cygni.domain.formation import effective
from cygni.domain.models import App, Job, Release, ReleaseStatus
from cygni.images import BuiltRelease, Images
from cygni.manifests import Manifests
from cygni.output import Announce, Narrator
from cygni.retirements import Retirements
from cygni.sources import Source
from cygni.store import CHANGED, Store
from deployer.failures import RolloutFailedError
from deployer.ports import Report
from deployer.rollout import Rollout

log = structlog.get_logger()


class Releases:
    """The use cases of the deploy lane. The lane, not this class, keeps two of an app apart."""

    def __init__(
        self,
        store: Store,
        manifests: Manifests,
        rollout: Rollout,
        retirements: Retirements,
        images: Images,
        report: Report,
        *,
        kept: int,
    ) -> None:
        self._store = store
        self._manifests = manifests
        self._rollout = rollout
        self._retirements = retirements
        self._images = images
        self._report = report
        self._kept = kept

    def url(self, app: App) -> str:
        """Where the app answers."""
        return self._manifests.url(app)

    async def create(self, source: Source, image: BuiltRelease) -> Release:
        """Record the next release of a built commit, with the config as it is now."""
        return await self._store.releases.create(
            source.app.id,
            image=image.image,
            commit=source.commit,
            processes=image.processes,
            release_command=image.release_command,
            author=source.build.author,
            reason=f"Deploy {source.commit[:7]}",
            build_id=source.build.id,
            output_id=source.build.id,
        )

    async def roll_out(
        self,
        app: App,
        release: Release,
        say: Narrator,
        *,
        release_phase: bool = True,
        restore: Mapping[str, str] | None = None,
    ) -> None:
        """Take a release live without a lost request; returns when it serves, while the old one still drains.

        With `restore` (the app's config before), the release's config becomes the app's when it goes live.

        Raises:
            ReleaseError: it did not come up; the one before goes on serving.
        """
        manifest = await self._manifests.of(app, release, release_phase=release_phase)
        try:
            retirement = await self._rollout.run(
                manifest, _discreet(release, say), lambda: self._commit(release, restore)
            )
        except RolloutFailedError as error:
            raise await self._failed(app, release, error) from None
        except BaseException:
            await self._abort(release)
            raise
        self._retirements.start(app.id, retirement)
        await self._report(
            app.id, f"Release v{release.version} created by {release.author}: {release.reason}"
        )
        for problem in retirement.problems:
            await say.problem(problem)

    async def _commit(self, release: Release, restore: Mapping[str, str] | None) -> None:
        """The commit point: from here on this release is what a restarted server brings back."""
        await self._store.releases.set_live(release.id, restore=restore)

    async def _abort(self, release: Release) -> None:
        current = await self._store.releases.get(release.app_id, release.version)
        if current is not None and current.status is ReleaseStatus.PENDING:
            await self._store.releases.fail(release.id, messages.release_interrupted())

    async def _failed(self, app: App, release: Release, error: RolloutFailedError) -> ReleaseError:
        await self._store.releases.fail(release.id, str(error))
        live = await self._store.releases.live(app.id)
        await self._report(app.id, f"Release v{release.version} failed: {error}")
        text = messages.release_failed(app, release, error, live.version if live else None)
        return ReleaseError(_secrets(release).text(text))

    async def change_config(self, app: App, job: Job, say: Narrator) -> str:
        """Roll the present config out on the live image, as a new release.

        Returns an empty text where the first release, behind which this waited, has failed.
        """
        live = await self._store.releases.live(app.id)
        if live is None:
            return ""
        config = await self._store.config.get(app.id)
        if config == live.config:
            return f"v{live.version}"
        reason = _config_reason(live.config, config)
        release = await self._again(app, live, job, reason=reason)
        try:
            await self.roll_out(app, release, say)
        except ReleaseError as error:
            raise ReleaseError(f"{error}\n{messages.config_stays(app)}") from None
        return f"v{release.version}"

    async def roll_back(self, app: App, job: Job, say: Narrator) -> str:
        """Bring an earlier release's code and config back as a new one.

        Its release command ran when it was new and is not run again: going back must not wait.
        """
        live = await self._store.releases.live(app.id)
        if live is not None and live.output_id == job.id:
            return f"v{live.version}"  # a server died between the commit and the end of this job
        before = await self._store.config.get(app.id)
        target = await self._require(app, int(job.payload["version"]))
        async with self._images.in_use(app.id):
            if not await self._images.exists(target.image):
                raise UserError(messages.image_gone(target.version))
            release = await self._again(
                app, target, job, reason=f"Rollback to v{target.version}", config=target.config
            )
        await self.roll_out(app, release, say, release_phase=False, restore=before)
        return f"v{release.version}"

    async def _again(
        self, app: App, former: Release, job: Job, *, reason: str, config: Mapping[str, str] | None = None
    ) -> Release:
        return await self._store.releases.create(
            app.id,
            image=former.image,
            commit=former.commit,
            processes=former.processes,
            release_command=former.release_command,
            author=job.author,
            reason=reason,
            build_id=former.build_id,
            config=config,
            output_id=job.id,
        )

    async def scale(self, app: App, job: Job, say: Narrator) -> None:
        """Make the formation of the live release what the store says."""
        del job
        live = await self._store.releases.live(app.id)
        if live is None:
            return  # the first release, behind which this waited, has failed
        manifest = await self._manifests.of(app, live)
        for process in manifest.processes:
            try:
                retirement = await self._rollout.scale(manifest, process.type, say.detail)
            except RolloutFailedError as error:
                text = messages.scale_failed(app, error)
                raise ReleaseError(_secrets(live).text(text)) from None
            self._retirements.start(app.id, retirement)

    async def restart(self, app: App, job: Job, say: Narrator) -> None:
        """Replace every instance of the live release, or those of the types that the job names."""
        live = await self._require_live(app)
        types = job.payload.get(CHANGED, "").split() or None
        try:
            manifest = await self._manifests.of(app, live)
            retirement = await self._rollout.restart(manifest, say.detail, types)
        except RolloutFailedError as error:
            text = messages.restart_failed(app, error)
            raise ReleaseError(_secrets(live).text(text)) from None
        self._retirements.start(app.id, retirement)
        await self._report(app.id, f"{', '.join(types) if types else 'Everything'} restarted by {job.author}")

    async def stop_all(self, app: App) -> None:
        """Stop and remove everything of an app that is being destroyed."""
        for problem in await self._rollout.stop_all(app.id):
            log.warning("teardown", app=app.name, problem=problem)

    async def collect(self, app: App) -> None:
        """Remove images that no release within the rollback window needs."""
        await self._images.collect(app, lambda: self._store.releases.kept_images(self._kept))

    async def formation(self, app: App) -> dict[str, int]:
        """How many of each process type shall run."""
        live = await self._store.releases.live(app.id)
        stored = await self._store.formation.get(app.id)
        return effective(live.processes, stored) if live else dict(stored)

    async def _require_live(self, app: App) -> Release:
        live = await self._store.releases.live(app.id)
        if live is None:
            raise NotFoundError(messages.no_release(app))
        return live

    async def _require(self, app: App, version: int) -> Release:
        release = await self._store.releases.get(app.id, version)
        if release is None:
            raise NotFoundError(messages.no_such_release(app, version))
        return release


def _secrets(release: Release) -> Redactor:
    """Takes the values of a release's config vars out of what the platform repeats of an app's output."""
    return Redactor(release.config.values())


def _discreet(release: Release, say: Narrator) -> Announce:
    secrets = _secrets(release)

    async def line(text: str) -> None:
        await say.detail(secrets.text(text))

    return line


def _config_reason(before: Mapping[str, str], after: Mapping[str, str]) -> str:
    """`Set A, B; unset C`: names only."""
    changed = sorted(name for name, value in after.items() if before.get(name) != value)
    removed = sorted(name for name in before if name not in after)
    parts = [f"Set {', '.join(changed)}"] if changed else []
    parts += [f"unset {', '.join(removed)}"] if removed else []
    text = "; ".join(parts)
    return (text[:1].upper() + text[1:])[:200]
