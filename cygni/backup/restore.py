"""Restores a backup into an empty state directory: everything is unpacked and checked before anything is placed."""

import os
import re
import shutil
from pathlib import Path

from config import Settings
from cygni.backup import bundles, messages, shelf
from cygni.backup.archive import BLOCK, About, ArchiveReader, Entry
from cygni.backup.create import DATABASES
from cygni.backup.errors import BackupError
from cygni.state_lock import LOCK, HeldError, held
from cygni.store.dumps import check_file, file_of, is_empty, kind_of, load_postgresql
from cygni.store.migrate import head
from gitserver.git import GitError

WORK = ".restore"
READY = ".ready"
"""In the work folder: all of it was checked, and is being placed."""
PRESENT = {LOCK, WORK, "cygni.toml", "lost+found"}
"""What an empty state directory may hold."""
_KNOWN = re.compile(
    r"secret\.key|cygni\.toml|cygni\.db|cygni\.pgdump|ssh/[^/]+|builds/[^/]+|logs/[^/]+/[^/]+"
    r"|repositories/[^/]+\.(?:head|bundle)"
)


def verify(source: Path, passphrase: str) -> tuple[Path, About, int]:
    """Read a backup, or the newest of a directory, to its end; returns it and how many files it has.

    Raises:
        BackupError: it is not whole, or not ours to read.
    """
    path = shelf.newest(source)
    with ArchiveReader(path, passphrase) as archive:
        for _ in archive.entries():
            pass
        return path, archive.about, archive.files


async def restore(settings: Settings, source: Path, passphrase: str) -> tuple[Path, About]:
    """Restore a backup, or the newest of a directory, into the settings' state directory and database.

    Raises:
        BackupError: the directory or database is not empty, or the backup not whole; nothing was changed.
        StoreError: the database cannot be filled.
    """
    path = shelf.newest(source)
    data = settings.data
    try:
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        with held(data):
            with ArchiveReader(path, passphrase) as archive:
                about = archive.about
                work = data / WORK
                if not (work / READY).exists():
                    await _unpack(settings, archive, work)
            _place(settings, work)
            return path, about
    except HeldError:
        raise BackupError(messages.in_use(data)) from None
    except OSError as error:
        raise BackupError(messages.cannot("written", error.filename, error.strerror)) from error


def unfinished(data: Path) -> bool:
    """Whether a restore into this directory was interrupted."""
    return (data / WORK).exists()


async def _unpack(settings: Settings, archive: ArchiveReader, work: Path) -> None:
    await _check_target(settings, archive.about)
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700)
    try:
        for entry in archive.entries():
            _write(entry, work)
        await _make_repositories(work / "repositories")
        if archive.about.database == "sqlite":
            check_file(work / DATABASES["sqlite"])
        else:
            dumped = work / DATABASES["postgresql"]
            await load_postgresql(settings.store_url, dumped)
            dumped.unlink()
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise
    (work / READY).touch()
    shelf.sync(work)


async def _check_target(settings: Settings, about: About) -> None:
    names = sorted({path.name for path in settings.data.iterdir()} - PRESENT)
    if names:
        raise BackupError(messages.not_empty(settings.data, names))
    if about.revision > head():
        raise BackupError(messages.newer_schema(about.revision, head()))
    if kind_of(settings.store_url) != about.database:
        raise BackupError(messages.other_database(about.database))
    if about.database == "postgresql":
        if not await is_empty(settings.store_url):
            raise BackupError(messages.database_not_empty())
    elif file_of(settings.store_url).exists():
        raise BackupError(messages.database_not_empty())


def _write(entry: Entry, work: Path) -> None:
    if not _KNOWN.fullmatch(entry.name):
        return  # of a later version, which did not need this one to know it
    path = work / entry.name
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        while block := entry.content.read(BLOCK):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())


async def _make_repositories(folder: Path) -> None:
    for branch in sorted(folder.glob("*.head")):
        bundle = branch.with_suffix(".bundle")
        try:
            await bundles.read(
                branch.with_suffix(".git"), bundle if bundle.exists() else None, branch.read_text()
            )
        except GitError as error:
            raise BackupError(messages.cannot("restored", branch.stem, error)) from error
        branch.unlink()
        bundle.unlink(missing_ok=True)


def _place(settings: Settings, work: Path) -> None:
    """Move everything to its place. Interrupted, the next call goes on; until the end no server starts here."""
    for path in sorted(work.iterdir()):
        target = settings.data / path.name
        if path.name == DATABASES["sqlite"]:
            target = file_of(settings.store_url)
        if path.name != READY and not target.exists():
            shutil.move(path, target)
    shelf.sync(settings.data)
    shutil.rmtree(work)
