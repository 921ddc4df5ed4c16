"""A directory of backups: names, the newest, and what is removed when newer ones are there."""

import os
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from cygni.backup import messages
from cygni.backup.errors import BackupError

_NAME = re.compile(r"cygni-([0-9a-f]{8})-(\d{8}T\d{6}\.\d{3}Z)\.backup")
PARTIAL = ".partial"


def newest(source: Path) -> Path:
    """The file itself, or a directory's newest backup.

    Raises:
        BackupError: there is none, or those of several servers.
    """
    if not source.is_dir():
        return source
    found = _backups(source)
    identities = sorted({identity for identity, _ in found})
    if not found:
        raise BackupError(messages.no_backups(source))
    if len(identities) > 1:
        raise BackupError(messages.several_servers(source, identities))
    return found[-1][1]


def write(directory: Path, identity: str, content: Callable[[BinaryIO], None]) -> Path:
    """Write a new backup under another name, and rename it when it is whole and on the disk.

    Raises:
        BackupError: the disk or the directory refuses.
    """
    now = datetime.now(UTC)
    name = f"cygni-{identity}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z.backup"
    partial = directory / f".{name}{PARTIAL}"
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        _sweep(directory, identity)
        with os.fdopen(os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            content(file)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(directory / name)
        sync(directory)
    except OSError as error:
        raise BackupError(messages.cannot("written", error.filename or directory, error.strerror)) from error
    finally:
        partial.unlink(missing_ok=True)
    return directory / name


def prune(directory: Path, identity: str, keep: int) -> int:
    """Remove this server's older backups; returns how many."""
    mine = [path for owner, path in _backups(directory) if owner == identity]
    old = mine[: max(0, len(mine) - keep)]
    for path in old:
        path.unlink(missing_ok=True)
    return len(old)


def sync(directory: Path) -> None:
    """Force the names in a directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _backups(directory: Path) -> list[tuple[str, Path]]:
    """Identity and path, oldest first."""
    matched = [(_NAME.fullmatch(path.name), path) for path in directory.iterdir()]
    found = [(match[2], match[1], path) for match, path in matched if match]
    return [(identity, path) for _, identity, path in sorted(found)]


def _sweep(directory: Path, identity: str) -> None:
    """Remove what a backup of this server that was killed has left; the caller is the only one running."""
    for path in directory.glob(f".cygni-{identity}-*{PARTIAL}"):
        with suppress(FileNotFoundError):
            path.unlink()
