"""`cygni backup`, `cygni restore`, `cygni backup:verify`: their words, and what they print."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from config import Settings
from cygni.backup import messages
from cygni.backup.create import backup
from cygni.backup.errors import BackupError
from cygni.backup.restore import restore, verify


def _say(text: str) -> None:
    print(text, file=sys.stderr if text.startswith("Warning") else sys.stdout)


def _passphrase(settings: Settings) -> str:
    found = settings.backup_passphrase.get_secret_value() if settings.backup_passphrase else ""
    if not found:
        raise BackupError(messages.no_passphrase())
    return found


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def _directory(settings: Settings, given: Path | None) -> Path:
    directory = given or settings.backup_dir
    if directory is None:
        raise BackupError(messages.no_target())
    return directory.absolute()


async def make(settings: Settings, words: Sequence[str]) -> int:
    """`cygni backup [DIR] [--keep N]`."""
    parser = argparse.ArgumentParser(prog="cygni backup", description="Back the server up, encrypted.")
    parser.add_argument("directory", metavar="DIR", nargs="?", type=Path, help="default: CYGNI_BACKUP_DIR")
    parser.add_argument("--keep", metavar="N", type=_positive, help="remove older ones, so that N are left")
    given = parser.parse_args(words)
    await backup(settings, _directory(settings, given.directory), _passphrase(settings), given.keep, _say)
    return 0


async def bring_back(settings: Settings, words: Sequence[str]) -> int:
    """`cygni restore DIR|FILE`."""
    parser = argparse.ArgumentParser(
        prog="cygni restore",
        description="Restore a backup, or a directory's newest, into an empty CYGNI_DATA.",
    )
    parser.add_argument("source", metavar="DIR|FILE", type=Path)
    given = parser.parse_args(words)
    path, about = await restore(settings, given.source.absolute(), _passphrase(settings))
    _say(messages.restored(path, settings.data, about.apps))
    return 0


async def check(settings: Settings, words: Sequence[str]) -> int:
    """`cygni backup:verify [DIR|FILE]`."""
    parser = argparse.ArgumentParser(
        prog="cygni backup:verify", description="Read a backup, or a directory's newest, to its end."
    )
    parser.add_argument("source", metavar="DIR|FILE", nargs="?", type=Path, help="default: CYGNI_BACKUP_DIR")
    given = parser.parse_args(words)
    path, about, files = verify(_directory(settings, given.source), _passphrase(settings))
    _say(messages.verified(path, files, about.apps, about.created))
    return 0
