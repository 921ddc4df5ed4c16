"""Makes a backup, while the server runs or not: database first, then what its rows refer to."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

from config import Settings
from cygni.backup import bundles, messages, shelf
from cygni.backup.archive import FORMAT, About, ArchiveWriter
from cygni.backup.errors import BackupError
from cygni.state_lock import HeldError, held
from cygni.store.dumps import Facts, Live, dump, file_of, kind_of
from gitserver import repository
from gitserver.git import GitError

LOCK = "backup.lock"
WORK = ".backup"
APP_LOG_BYTES = 8 << 20
"""Of each app's log, its newest segments."""
OUTPUT_BYTES = 64 << 20
"""Of the outputs of builds, the newest ones."""
COMMIT_SECONDS = 20.0
"""A release goes live a moment before its commit leaves git's quarantine."""

DATABASES = {"sqlite": "cygni.db", "postgresql": "cygni.pgdump"}
"""Names of the database's entry."""

Say = Callable[[str], None]


async def backup(settings: Settings, directory: Path, passphrase: str, keep: int | None, say: Say) -> Path:
    """Write a new backup into the directory, and remove older ones of this server beyond `keep`.

    What is written to the database, or pushed, after the database's copy may be missing; what is in the copy is
    in the backup with all that belongs to it.

    Raises:
        BackupError: nothing was written; the text says why.
        StoreError: the database cannot be copied.
    """
    if kind_of(settings.store_url) == "sqlite" and not file_of(settings.store_url).exists():
        raise BackupError(messages.nothing_to_back_up(settings.data))
    try:
        with held(settings.data, LOCK):
            work = settings.data / WORK
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(mode=0o700)
            try:
                return await _Making(settings, work, say).run(directory, passphrase, keep)
            finally:
                shutil.rmtree(work, ignore_errors=True)
    except HeldError:
        raise BackupError(messages.other_backup_runs()) from None
    except OSError as error:
        raise BackupError(messages.cannot("read", error.filename, error.strerror)) from error


class _Making:
    """One backup under way. `work` is for what has to be a file before it can be an entry."""

    def __init__(self, settings: Settings, work: Path, say: Say) -> None:
        self._data = settings.data
        self._settings = settings
        self._work = work
        self._say = say

    async def run(self, directory: Path, passphrase: str, keep: int | None) -> Path:
        copy = self._work / "database"
        facts = await dump(self._settings.store_url, copy)
        loop = asyncio.get_running_loop()

        def content(file: BinaryIO) -> None:
            archive = ArchiveWriter(file, passphrase, self._about(facts))
            archive.add_file(DATABASES[facts.kind], copy)
            copy.unlink()
            for name, path in self._files(facts):
                with suppress(FileNotFoundError):  # a log's segment that was retired meanwhile
                    archive.add_file(name, path)
            for app_id in facts.apps:
                asyncio.run_coroutine_threadsafe(self._add_repository(archive, facts, app_id), loop).result()
            archive.finish()

        path = await asyncio.to_thread(shelf.write, directory, facts.identity, content)
        removed = shelf.prune(directory, facts.identity, keep) if keep else 0
        self._say(messages.made(path, path.stat().st_size, len(facts.apps), removed))
        return path

    def _about(self, facts: Facts) -> About:
        return About(
            format=FORMAT,
            created=f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC",
            version=version("cygni"),
            identity=facts.identity,
            domain=self._settings.domain,
            database=facts.kind,
            revision=facts.revision,
            apps=len(facts.apps),
        )

    def _files(self, facts: Facts) -> Iterator[tuple[str, Path]]:
        yield "secret.key", self._data / "secret.key"
        yield "cygni.toml", self._data / "cygni.toml"
        for path in _plain(self._data / "ssh"):
            yield f"ssh/{path.name}", path
        for app_id in facts.apps:
            segments = [path for path in _plain(self._data / "logs" / app_id) if path.suffix == ".log"]
            for path in _newest(sorted(segments, reverse=True), APP_LOG_BYTES):
                yield f"logs/{app_id}/{path.name}", path
        outputs = [path for path in _plain(self._data / "builds") if path.suffix == ".log"]
        for path in _newest(sorted(outputs, key=_changed, reverse=True), OUTPUT_BYTES):
            yield f"builds/{path.name}", path

    async def _add_repository(self, archive: ArchiveWriter, facts: Facts, app_id: str) -> None:
        path = self._data / "repositories" / f"{app_id}.git"
        if not (path / "HEAD").exists():
            return
        for live in facts.live:
            if live.app_id == app_id:
                await self._wait_for_commit(path, facts.apps[app_id], live)
        bundle = self._work / "bundle"
        try:
            archive.add_text(f"repositories/{app_id}.head", await bundles.head(path))
            if await bundles.write(path, bundle):
                archive.add_file(f"repositories/{app_id}.bundle", bundle)
        except GitError as error:
            if path.exists():  # else the app was destroyed meanwhile
                raise BackupError(messages.cannot("read", path, error)) from error
        finally:
            bundle.unlink(missing_ok=True)

    async def _wait_for_commit(self, path: Path, app: str, live: Live) -> None:
        deadline = asyncio.get_running_loop().time() + COMMIT_SECONDS
        while not await repository.has_commit(path, live.commit):
            if asyncio.get_running_loop().time() > deadline:
                self._say(messages.commit_missing(app, live.version, live.commit))
                return
            await asyncio.sleep(0.2)


def _plain(directory: Path) -> list[Path]:
    """Files whose names hide nothing."""
    if not directory.is_dir():
        return []
    found = (path for path in directory.iterdir() if not path.name.startswith("."))
    return sorted(path for path in found if path.is_file() and not path.is_symlink())


def _changed(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _newest(paths: list[Path], limit: int) -> Iterator[Path]:
    """The first one, and the next ones while all together are within the limit."""
    total = 0
    for number, path in enumerate(paths):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
        if total > limit and number:
            return
        yield path
