"""What a starting server does about what its predecessor left half done."""

import structlog

from cygni import messages
from cygni.domain.models import App, BuildStatus, ReleaseStatus
from cygni.services import Services

RECENT = 50
AUTHOR = "server"

log = structlog.get_logger()


async def recover(services: Services) -> None:
    """Give every release and build that was under way a final state.

    Jobs are the worker's affair. A pending release never went live, or it would be marked so: marking is the
    commit point of a roll-out. A build whose job is over and which has no result was interrupted. An app that
    is half destroyed is destroyed, also where that failed before: there is no way back from it.
    """
    for app in await services.store.apps.all():
        if app.destroying:
            await services.operations.destroy(app, AUTHOR)
            continue
        for release in await services.store.releases.list(app.id, RECENT):
            if release.status is ReleaseStatus.PENDING:
                await services.store.releases.fail(release.id, messages.release_interrupted())
                log.info("release interrupted", app=app.name, version=release.version)
        for build in await services.store.builds.list(app.id, RECENT):
            if build.status is BuildStatus.RUNNING:
                await services.store.builds.finish(
                    build.id,
                    BuildStatus.INTERRUPTED,
                    failure=messages.build_interrupted(),
                    failure_id="build/interrupted",
                )
                log.info("build interrupted", app=app.name, number=build.number)
        await _build_detached(services, app)


async def _build_detached(services: Services, app: App) -> None:
    """A detached push moves its ref, which the client is told, and is then queued: make up for a death in between.

    Any other push moves its ref after its build, so a branch without a build of its commit can only be that.
    """
    tip = await services.repositories.deploy_tip(app)
    if tip is None or await services.store.builds.has_commit(app.id, tip.commit):
        return
    if app.deploy_branch is None:
        await services.store.apps.set_deploy_branch(app.id, tip.branch)
    await services.builds.enqueue(
        app,
        commit=tip.commit,
        ref=f"refs/heads/{tip.branch}",
        message="",
        author=AUTHOR,
        quarantine=None,
    )
    log.info("detached push found", app=app.name, commit=tip.commit)
