"""Keeps repositories, images, job rows and the build cache small, between pushes and never in their way."""

import asyncio
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog

from cygni.domain.errors import CygniError
from cygni.domain.models import App
from cygni.logs import BuildLogs, LogStore
from cygni.releases import Releases
from cygni.repositories import Repositories
from cygni.slots import PushSlots
from cygni.store import Store
from gitserver.git import GitError

QUEUE_LIMIT = 1000
EVERY = 6 * 3600.0
JOBS_KEPT = 30 * 86400.0
OUTPUTS_KEPT = 90 * 86400.0
STEP_LIMIT = 600.0
RELEASES = 100

log = structlog.get_logger()


class Housekeeping:
    """Tidies an app after each push of it, and every app a few times a day; one at a time."""

    def __init__(
        self,
        store: Store,
        repositories: Repositories,
        slots: PushSlots,
        releases: Releases,
        logs: LogStore,
        outputs: BuildLogs,
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._slots = slots
        self._releases = releases
        self._logs = logs
        self._outputs = outputs
        self._due: asyncio.Queue[str] = asyncio.Queue(QUEUE_LIMIT)

    def after_push(self, app_id: str) -> None:
        """Tidy this app soon. When too many wait, the daily round does it."""
        with suppress(asyncio.QueueFull):
            self._due.put_nowait(app_id)

    async def run(self) -> None:
        """Tidy until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._rounds())
            while True:
                await self._tidy(await self._due.get())

    async def _rounds(self) -> None:
        while True:
            # At the start too: a server that is restarted every few hours must tidy as well.
            with _reported("server"):
                await self._store.jobs.prune(JOBS_KEPT)
                await self._logs.sweep()
                await asyncio.to_thread(self._outputs.prune, OUTPUTS_KEPT)
            await asyncio.sleep(EVERY * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
            with _reported("apps"):
                for app in await self._store.apps.all():
                    await self._due.put(app.id)

    async def _tidy(self, app_id: str) -> None:
        with _reported(app_id):
            app = await self._store.apps.by_id(app_id)
            if app is None or app.destroying:
                return
            async with asyncio.timeout(STEP_LIMIT):
                await self._tidy_repository(app)
                await self._releases.collect(app)

    async def _tidy_repository(self, app: App) -> None:
        """Under the push slot, so that no push meets a repack; a busy slot means another time."""
        with self._slots.try_hold(app.id) as held:
            if held:
                releases = await self._store.releases.list(app.id, RELEASES)
                await self._repositories.keep_releases(app.id, {r.version: r.commit for r in releases})
                await self._repositories.maintain(app.id)


@contextmanager
def _reported(what: str) -> Iterator[None]:
    """What cannot be tidied now is tidied another time; it must not end the server."""
    try:
        yield
    except (CygniError, GitError, OSError, TimeoutError) as error:
        log.warning("housekeeping", of=what, reason=str(error) or type(error).__name__)
    except Exception:
        log.exception("housekeeping", of=what)
