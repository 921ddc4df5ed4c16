"""What a starting server does about what its predecessor left half done."""

import structlog

from cygni import messages
from cygni.domain.models import BuildStatus, ReleaseStatus
from cygni.services import Services

RECENT = 50

log = structlog.get_logger()


async def recover(services: Services) -> None:
    """Give every release and build that was under way a final state.

    Jobs are the worker's affair. A pending release never went live, or it would be marked so: marking is the
    commit point of a roll-out. A build whose job is over and which has no result was interrupted.
    """
    for app in await services.store.apps.all():
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
