"""The post-receive hook: judges a push, turns it into a build job, follows it, gives the verdict."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from cygni import messages
from cygni.audit import DONE, FAILED, REFUSED, Entry
from cygni.builds import Builds
from cygni.disk import Disk
from cygni.domain.errors import ConflictError, CygniError, UserError
from cygni.domain.models import App, Build, Job, JobStatus, Role, User
from cygni.domain.names import is_app_name
from cygni.housekeeping import Housekeeping
from cygni.jobs import Worker
from cygni.output import DETAIL, PROBLEM, Announce
from cygni.permissions import Permissions
from cygni.repositories import BRANCH_PREFIX, DEPLOY_BRANCHES, Repositories
from cygni.slots import PushSlots
from cygni.sources import SourceLimitError, Sources
from cygni.store import Store
from gitserver.ports import ZERO_ID, Client, Principal, Push, RefUpdate, Refused, Repository, Service, Verdict

PUSH_OPTIONS = ("detach", "on-disconnect=cancel", "on-disconnect=detach")
REMOTE = "cygni"
FOLLOW_LIMIT = 4 * 3600.0

log = structlog.get_logger()


@dataclass(frozen=True)
class _Wish:
    """What the push options ask for."""

    detach: bool
    cancel_on_disconnect: bool


class Pushes:
    """Implements the git server's PushHandler on the store, the worker and the build logs."""

    def __init__(
        self,
        disk: Disk,
        store: Store,
        permissions: Permissions,
        worker: Worker,
        builds: Builds,
        repositories: Repositories,
        sources: Sources,
        slots: PushSlots,
        housekeeping: Housekeeping,
    ) -> None:
        self._disk = disk
        self._store = store
        self._permissions = permissions
        self._worker = worker
        self._builds = builds
        self._repositories = repositories
        self._sources = sources
        self._created: set[str] = set()
        self._moved: set[str] = set()
        self._slots = slots
        self._housekeeping = housekeeping

    async def open(self, principal: Principal, name: str, service: Service) -> Repository:
        """Resolve the app; a push to an unknown one creates it where the pusher may.

        Raises:
            Refused: bad name, no such app or no right to it, disk almost full.
        """
        if not is_app_name(name):
            raise Refused(messages.bad_app_name(name))
        user = User(principal.id, principal.name, principal.admin)
        app = await self._store.apps.by_name(name)
        if app is None:
            app = await self._create(user, name, service)
        try:
            app = await self._permissions.find(user, app.name)
            if service == "receive-pack":
                await self._permissions.require(user, app, Role.DEPLOYER)
                self._permissions.require_alterable(app)
                self._disk.check()
        except UserError as error:
            with suppress(CygniError):  # where it cannot be noted, on a full disk, the reason counts more
                await Entry(self._store, user.name, service, principal.address, app).end(REFUSED)
            raise Refused(str(error)) from None
        return Repository(app.id, app.name, await self._repositories.ensure(app.id))

    async def _create(self, user: User, name: str, service: Service) -> App:
        if service != "receive-pack" or not user.admin:
            raise Refused(messages.no_such_app(name))
        try:
            self._disk.check()
        except ConflictError as error:
            raise Refused(str(error)) from None
        with suppress(ConflictError):  # two first pushes at once: the other one made it
            self._created.add((await self._store.apps.create(name, user.id)).id)
        app = await self._store.apps.by_name(name)
        if app is None:
            raise Refused(messages.no_such_app(name))
        return app

    @asynccontextmanager
    async def slot(
        self, repository: Repository, principal: Principal, announce: Announce
    ) -> AsyncIterator[None]:
        """Hold the app's push slot; see `PushSlots`. An app made for a push that comes to nothing is not kept.

        Raises:
            Refused: replaced by a newer push, waited too long, or the app is gone by now.
        """
        try:
            async with self._slots.hold(repository.id, principal.name, announce):
                if await self._store.apps.by_id(repository.id) is None:
                    await self._repositories.remove(
                        repository.id
                    )  # `open` may have made it after the app's end
                    raise Refused(messages.no_such_app(repository.app))
                try:
                    yield
                finally:
                    await self._forget_unused(repository)
        finally:
            if repository.id in self._moved:  # only now: it tidies nothing while the slot is held
                self._moved.discard(repository.id)
                self._housekeeping.after_push(repository.id)

    async def _forget_unused(self, repository: Repository) -> None:
        if repository.id not in self._created or self._slots.awaited(repository.id):
            return
        self._created.discard(repository.id)
        if await self._repositories.is_empty(repository.path) and await self._store.apps.delete_unused(
            repository.id
        ):
            await self._repositories.remove(repository.id)

    async def check(self, push: Push) -> None:
        """Judge refs, options and the tree to build before anything else is done with them.

        Raises:
            Refused: another branch, a stale old id, the deploy branch deleted, an unknown option, a tree over
                a limit, no space left.
        """
        _wish(push.options)
        try:
            self._disk.check()
        except ConflictError as error:
            raise Refused(str(error)) from None
        app = await self._app(push)
        deploy_branch = _deploy_branch(app, push.updates)
        for update in push.updates:
            await self._check_update(app, deploy_branch, update, push.repository.path)
        if (built := _deploy_update(app, push.updates)) is not None:
            await self._check_tree(push, built)

    async def _check_tree(self, push: Push, update: RefUpdate) -> None:
        try:
            await self._sources.check(push.repository.path, push.quarantine, update.new)
        except SourceLimitError as error:
            raise Refused(messages.source_over_limit(str(error))) from None

    async def _check_update(self, app: App, deploy_branch: str, update: RefUpdate, path: Path) -> None:
        if not update.ref.startswith(BRANCH_PREFIX):
            return
        branch = update.ref.removeprefix(BRANCH_PREFIX)
        if branch != deploy_branch and update.new != ZERO_ID:
            raise Refused(messages.wrong_branch(branch, deploy_branch, REMOTE))
        if branch == deploy_branch and update.new == ZERO_ID:
            raise Refused(messages.delete_deploy_branch(branch, app.name))
        current = await self._repositories.read_ref(path, update.ref) or ZERO_ID
        if current != update.old:
            raise Refused(messages.stale_push(branch, update.old, current))

    async def received(self, push: Push, client: Client) -> Verdict:
        """Build and release what was pushed; refuse the ref when that fails."""
        app = await self._app(push)
        update = _deploy_update(app, push.updates)
        if update is None:
            return Verdict(accepted=True)
        if _wish(push.options).detach:
            await client.line(DETAIL + messages.detached(app.name))
            return Verdict(accepted=True)
        build, job = await self._enqueue(app, push, update)
        entry = Entry(self._store, push.principal.name, "push", push.principal.address, app)
        await entry.begin(_told(update))
        await client.line(DETAIL + messages.disconnect_hint(app.name))
        outcome = await self._follow(push, client, build, job)
        accepted = outcome.status is JobStatus.DONE
        await entry.end(DONE if accepted else FAILED)
        if not accepted:
            await client.line(PROBLEM + messages.push_rejected(app.name))
        return Verdict(accepted=accepted)

    async def finished(self, push: Push, *, moved: bool) -> None:
        """The refs have moved or not: remember the branch, keep the release's commit, start a detached build."""
        app = await self._app(push)
        update = _deploy_update(app, push.updates)
        if not moved or update is None:
            return
        branch = update.ref.removeprefix(BRANCH_PREFIX)
        if app.deploy_branch is None:
            await self._store.apps.set_deploy_branch(app.id, branch)
            await self._repositories.set_head(push.repository.path, branch)
        if _wish(push.options).detach:
            await self._enqueue(app, push, update, quarantined=False)
            entry = Entry(self._store, push.principal.name, "push", push.principal.address, app)
            await entry.end(DONE, f"{_told(update)} detached")
        else:
            await self._keep_commit(app, push.repository.path, update.new)
        self._moved.add(app.id)

    async def _keep_commit(self, app: App, path: Path, commit: str) -> None:
        release = await self._store.releases.live(app.id)
        if release is not None and release.commit == commit:
            await self._repositories.keep_release(path, release.version, commit)

    async def _app(self, push: Push) -> App:
        app = await self._store.apps.by_id(push.repository.id)
        if app is None:
            raise Refused(messages.no_such_app(push.repository.app))
        return app

    async def _enqueue(
        self, app: App, push: Push, update: RefUpdate, *, quarantined: bool = True
    ) -> tuple[Build, Job]:
        return await self._builds.enqueue(
            app,
            commit=update.new,
            ref=update.ref,
            message="",
            author=push.principal.name,
            quarantine=push.quarantine if quarantined else None,
        )

    async def _follow(self, push: Push, client: Client, build: Build, job: Job) -> Job:
        """Show the build's lines until its job has ended; a client that is gone ends only the showing."""
        watch = asyncio.create_task(self._cancel_when_gone(push, client, build))
        try:
            async with self._builds.following(build.id, job) as lines:
                async for line in lines:
                    await client.line(line)
            return await self._worker.wait(job.id, timeout=FOLLOW_LIMIT)
        finally:
            watch.cancel()
            await asyncio.gather(watch, return_exceptions=True)

    async def _cancel_when_gone(self, push: Push, client: Client, build: Build) -> None:
        await client.wait_gone()
        log.info("push detached", app=push.repository.app)
        if _wish(push.options).cancel_on_disconnect:
            await self._builds.cancel(build, push.principal.name)


def _wish(options: tuple[str, ...]) -> _Wish:
    for option in options:
        if option not in PUSH_OPTIONS:
            raise Refused(messages.unknown_push_option(option, PUSH_OPTIONS))
    return _Wish("detach" in options, "on-disconnect=cancel" in options)


def _told(update: RefUpdate) -> str:
    return f"{update.new[:7]} to {update.ref.removeprefix(BRANCH_PREFIX)}"


def _deploy_branch(app: App, updates: tuple[RefUpdate, ...]) -> str:
    """The app's branch; before the first push, `main` or `master`, whichever this push brings."""
    if app.deploy_branch:
        return app.deploy_branch
    pushed = {update.ref.removeprefix(BRANCH_PREFIX) for update in updates}
    return next((branch for branch in DEPLOY_BRANCHES if branch in pushed), DEPLOY_BRANCHES[0])


def _deploy_update(app: App, updates: tuple[RefUpdate, ...]) -> RefUpdate | None:
    ref = BRANCH_PREFIX + _deploy_branch(app, updates)
    return next((update for update in updates if update.ref == ref and update.new != ZERO_ID), None)
