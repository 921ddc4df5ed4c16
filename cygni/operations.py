"""What people do to an app besides pushing: durable jobs in the deploy lane, with followable output."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cygni.domain.errors import UserError
from cygni.domain.models import App, Job, JobStatus, Lane, ProcessLimits, ReleaseStatus
from cygni.jobs import Worker
from cygni.logs import BuildLogs
from cygni.store import CHANGED, Store

CONFIG = "config"
SCALE = "scale"
RESTART = "restart"
ROLLBACK = "rollback"
DESTROY = "destroy"
FOLLOW_LIMIT = 2 * 3600.0


@dataclass(frozen=True)
class Operation:
    """A job that runs, and the name of its output."""

    job: Job
    output: str


class Operations:
    """Starts operations and follows them; the work itself is done by the worker's handlers."""

    def __init__(self, store: Store, worker: Worker, build_logs: BuildLogs) -> None:
        self._store = store
        self._worker = worker
        self._build_logs = build_logs

    async def change_config(
        self, app: App, changes: Mapping[str, str | None], author: str, *, restart: bool = True
    ) -> Operation | None:
        """Store config changes and roll them out where the app has a release; several in a row coalesce.

        Not `restart`: what runs stays, the next release takes them.
        """
        kind = await self._kind(app, CONFIG) if restart else None
        _, job = await self._store.config.change(app.id, changes, author=author, job_kind=kind)
        return await self._carried_out(app, job, CONFIG, author, changes if restart else ())

    async def scale(self, app: App, changes: Mapping[str, int], author: str) -> Operation | None:
        """Store a new formation and make it so where the app has a release."""
        kind = await self._kind(app, SCALE)
        _, job = await self._store.formation.change(app.id, changes, author=author, job_kind=kind)
        return await self._carried_out(app, job, SCALE, author, changes)

    async def stop(self, app: App, quantities: Mapping[str, int], author: str) -> Operation | None:
        """Stop these types until `start_again`, which brings as many back."""
        kind = await self._kind(app, SCALE)
        job = await self._store.formation.stop(app.id, quantities, author=author, job_kind=kind)
        return await self._carried_out(app, job, SCALE, author, quantities)

    async def start_again(self, app: App, types: Collection[str], author: str) -> Operation | None:
        """Start stopped types."""
        kind = await self._kind(app, SCALE)
        job = await self._store.formation.start(app.id, types, author=author, job_kind=kind)
        return await self._carried_out(app, job, SCALE, author, types)

    async def limit(self, app: App, changes: Mapping[str, ProcessLimits], author: str) -> Operation | None:
        """Store limits and replace the processes of these types where the app has a release."""
        kind = await self._kind(app, RESTART)
        job = await self._store.limits.change(app.id, changes, author=author, job_kind=kind)
        return await self._carried_out(app, job, RESTART, author, changes)

    async def destroy(self, app: App, author: str) -> Operation:
        """Refuse all other work on the app from now on, and remove it."""
        job = await self._store.apps.mark_destroying(app.id, author=author, job_kind=DESTROY)
        assert job is not None
        return self._operation(job)

    async def _kind(self, app: App, kind: str) -> str | None:
        """Without a release there is nothing to carry a change out on."""
        return kind if await self._store.releases.live(app.id) else None

    async def _carried_out(
        self, app: App, job: Job | None, kind: str, author: str, changes: Collection[str]
    ) -> Operation | None:
        """A first release that is under way was made before the change: this is carried out behind it."""
        if job is not None:
            return self._operation(job)
        newest = await self._store.releases.list(app.id, 1)
        if not changes or not newest or newest[0].status not in {ReleaseStatus.PENDING, ReleaseStatus.LIVE}:
            return None
        return await self.start(app, kind, author, {CHANGED: " ".join(changes)})

    async def restart(self, app: App, types: Collection[str], author: str) -> Operation:
        """Replace the processes of these types, of all for none."""
        return await self.start(app, RESTART, author, {CHANGED: " ".join(types)} if types else {})

    async def start(
        self, app: App, kind: str, author: str, payload: Mapping[str, str] | None = None
    ) -> Operation:
        """Start an operation of a kind that only needs its payload."""
        job = await self._store.jobs.enqueue(app.id, Lane.DEPLOY, kind, payload or {}, author)
        return self._operation(job)

    def _operation(self, job: Job) -> Operation:
        self._build_logs.writer(job.id)  # from now on followers have something to wait for
        return Operation(job, job.id)

    async def outcome(self, operation: Operation) -> str:
        """Wait for the end and return the result line.

        Raises:
            UserError: it failed; the text says why.
        """
        job = await self._worker.wait(operation.job.id, timeout=FOLLOW_LIMIT)
        if job.status is not JobStatus.DONE:
            raise UserError(job.result or f"The {job.kind} was {job.status}.")
        return job.result or ""
