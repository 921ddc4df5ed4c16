"""Releases: numbered without a gap, at most one of an app live, images kept while they are needed."""

from collections.abc import Iterable, Mapping

from sqlalchemy import ColumnElement, update
from sqlmodel import Session, col, func, select

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import BuildStatus, ProcessType, Release, ReleaseStatus
from cygni.store import rows
from cygni.store.database import Database
from cygni.store.keyring import Keyring
from cygni.store.schema import BuildRow, ReleaseRow
from cygni.store.sealing import open_snapshot, seal_snapshot
from cygni.store.settings import read_config, set_value

WENT_LIVE = (ReleaseStatus.LIVE.value, ReleaseStatus.RETIRED.value)


class Releases:
    """Releases of apps."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self._database = database
        self._keyring = keyring

    async def create(
        self,
        app_id: str,
        *,
        image: str,
        commit: str,
        processes: Iterable[ProcessType],
        release_command: tuple[str, ...] | None,
        author: str,
        reason: str,
        build_id: str | None = None,
        config: Mapping[str, str] | None = None,
        output_id: str | None = None,
    ) -> Release:
        """Record the app's next release, pending, with the given config or a snapshot of the app's.

        Raises:
            NotFoundError: no such app.
            ConflictError: it is being destroyed.
        """
        row = ReleaseRow(
            id=rows.new_id(),
            app_id=app_id,
            version=0,
            image=image,
            commit_id=commit,
            processes=rows.dump_processes(processes),
            release_command=None if release_command is None else [*release_command],
            config=b"",
            author=author,
            reason=reason,
            status=ReleaseStatus.PENDING.value,
            created_at=rows.now(),
            build_id=build_id,
            output_id=output_id,
        )
        return await self._database.write(self._create, row, config)

    async def get(self, app_id: str, version: int) -> Release | None:
        """Return the app's release of that version."""
        return await self._first(col(ReleaseRow.app_id) == app_id, col(ReleaseRow.version) == version)

    async def live(self, app_id: str) -> Release | None:
        """Return the release that serves."""
        return await self._first(
            col(ReleaseRow.app_id) == app_id, col(ReleaseRow.status) == ReleaseStatus.LIVE.value
        )

    async def latest(self, app_id: str) -> Release | None:
        """Return the newest release, live or not."""
        return await self._first(col(ReleaseRow.app_id) == app_id)

    async def all_live(self) -> list[Release]:
        """Return every live release of the server."""
        return await self._database.read(
            _select, self._keyring, (col(ReleaseRow.status) == ReleaseStatus.LIVE.value,), None
        )

    async def set_live(self, release_id: str, *, restore: Mapping[str, str] | None = None) -> None:
        """Make a pending release the live one and retire the former, in one step. Nothing happens if it is live.

        With `restore`, the app's config as it was when this release was asked for, the release's config becomes
        the app's in the same step; what somebody has changed since then stays as they set it.

        Raises:
            NotFoundError: no such release.
            ConflictError: it failed or was retired.
        """
        await self._database.write(self._set_live, release_id, restore)

    async def fail(self, release_id: str, why: str) -> None:
        """Mark a pending release failed. Nothing happens if it is failed.

        Raises:
            NotFoundError: no such release.
            ConflictError: it went live.
        """
        await self._database.write(_fail, release_id, why)

    async def replace_image(self, app_id: str, old: str, new: str) -> None:
        """Give an image that was lost and built again from the same source its new id, wherever the old one is."""
        if old != new:
            await self._database.write(_replace_image, app_id, old, new)

    async def kept_images(self, keep: int) -> set[str]:
        """Return the images that must not be collected, of all apps.

        They are those of releases that are live or may become so, of the last `keep` releases of each app that
        went live (the rollback window), and of each app's newest successful build, which may not have its
        release yet.
        """
        return await self._database.read(_kept_images, keep)

    async def _first(self, *where: ColumnElement[bool]) -> Release | None:
        found = await self._database.read(_select, self._keyring, where, 1)
        return found[0] if found else None

    def _create(self, session: Session, row: ReleaseRow, config: Mapping[str, str] | None) -> Release:
        app = rows.lock_working_app(session, row.app_id)
        app.releases += 1
        row.version = app.releases
        snapshot = read_config(session, self._keyring, row.app_id) if config is None else config
        row.config = seal_snapshot(self._keyring, snapshot, row.app_id, row.version)
        session.add(row)
        return rows.release(row, self._keyring)

    def _set_live(self, session: Session, release_id: str, restore: Mapping[str, str] | None) -> None:
        row = _set_live(session, release_id)
        if row is None or restore is None:
            return
        target = open_snapshot(self._keyring, row.config, row.app_id, row.version)
        present = read_config(session, self._keyring, row.app_id)
        for name in {*present, *target}:
            if present.get(name) == restore.get(name) != target.get(name):
                set_value(session, self._keyring, row.app_id, name, target.get(name))

    async def list(self, app_id: str, limit: int) -> list[Release]:
        """Return the app's releases, newest first."""
        return await self._database.read(_select, self._keyring, (col(ReleaseRow.app_id) == app_id,), limit)


def _select(
    session: Session, keyring: Keyring, where: Iterable[ColumnElement[bool]], limit: int | None
) -> list[Release]:
    query = select(ReleaseRow).where(*where).order_by(col(ReleaseRow.app_id), col(ReleaseRow.version).desc())
    return [rows.release(row, keyring) for row in session.exec(query.limit(limit))]


def _locked(session: Session, release_id: str) -> ReleaseRow:
    """The release, under its app's lock: two of an app cannot go live at the same time."""
    row = session.get(ReleaseRow, release_id)
    if row is None:
        raise NotFoundError("There is no such release.")
    rows.lock_app(session, row.app_id)
    session.refresh(row)
    return row


def _set_live(session: Session, release_id: str) -> ReleaseRow | None:
    """Return the release, None if it was live already."""
    row = _locked(session, release_id)
    if row.status == ReleaseStatus.LIVE:
        return None
    if row.status != ReleaseStatus.PENDING:
        raise ConflictError(f"v{row.version} is {row.status} and cannot go live.")
    serving = (col(ReleaseRow.app_id) == row.app_id) & (col(ReleaseRow.status) == ReleaseStatus.LIVE.value)
    for former in session.exec(select(ReleaseRow).where(serving)):
        former.status = ReleaseStatus.RETIRED.value
    session.flush()  # the place in the unique index of live releases is free now
    row.status = ReleaseStatus.LIVE.value
    return row


def _fail(session: Session, release_id: str, why: str) -> None:
    row = _locked(session, release_id)
    if row.status in WENT_LIVE:
        raise ConflictError(f"v{row.version} is {row.status} and cannot fail any more.")
    if row.status == ReleaseStatus.PENDING:
        row.status, row.failure = ReleaseStatus.FAILED.value, why


def _replace_image(session: Session, app_id: str, old: str, new: str) -> None:
    rows.lock_app(session, app_id)
    for table in (ReleaseRow, BuildRow):
        same = (col(table.app_id) == app_id) & (col(table.image) == old)
        session.exec(update(table).where(same).values(image=new))


def _kept_images(session: Session, keep: int) -> set[str]:
    return {*_serving_or_pending(session), *_rollback_window(session, keep), *_newest_built(session)}


def _serving_or_pending(session: Session) -> Iterable[str]:
    states = (ReleaseStatus.LIVE.value, ReleaseStatus.PENDING.value)
    return session.exec(select(ReleaseRow.image).where(col(ReleaseRow.status).in_(states)))


def _rollback_window(session: Session, keep: int) -> Iterable[str]:
    place = func.row_number().over(
        partition_by=col(ReleaseRow.app_id), order_by=col(ReleaseRow.version).desc()
    )
    ranked = (
        select(col(ReleaseRow.image).label("image"), place.label("place"))
        .where(col(ReleaseRow.status).in_(WENT_LIVE))
        .subquery()
    )
    return session.exec(select(ranked.c.image).where(ranked.c.place <= keep))


def _newest_built(session: Session) -> Iterable[str]:
    built = (col(BuildRow.status) == BuildStatus.SUCCEEDED.value) & col(BuildRow.image).is_not(None)
    newest = (
        select(col(BuildRow.app_id).label("app_id"), func.max(BuildRow.number).label("number"))
        .where(built)
        .group_by(col(BuildRow.app_id))
        .subquery()
    )
    same = (col(BuildRow.app_id) == newest.c.app_id) & (col(BuildRow.number) == newest.c.number)
    return (image for image in session.exec(select(BuildRow.image).where(same)) if image is not None)
