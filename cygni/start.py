"""What is looked at before a state directory is used: nothing may make a new state over the remains of another one."""

import asyncio

from config import Settings
from cygni import messages
from cygni.backup.restore import unfinished
from cygni.store.dumps import check_file, file_of, kind_of
from cygni.store.moving import MOVED


class StartError(Exception):
    """The server cannot start; the text says why and what to do."""


def check_state(settings: Settings) -> None:
    """See that the state directory and the database belong together.

    Raises:
        StartError: a restore was interrupted, the database was moved, or is missing while its repositories are there.
    """
    data = settings.data
    if unfinished(data):
        raise StartError(messages.restore_unfinished(str(data)))
    if kind_of(settings.store_url) != "sqlite" or file_of(settings.store_url).exists():
        return
    file = file_of(settings.store_url)
    if file.with_name(file.name + MOVED).exists():
        raise StartError(messages.database_moved(str(file)))
    if any((data / "repositories").glob("*.git")):
        raise StartError(messages.database_missing(str(file)))


async def check_database(settings: Settings) -> None:
    """Read every page of an SQLite database, which takes about a second for a gigabyte.

    Raises:
        DatabaseDamagedError: with what to do.
    """
    if kind_of(settings.store_url) == "sqlite" and file_of(settings.store_url).exists():
        await asyncio.to_thread(check_file, file_of(settings.store_url), quick=True)
