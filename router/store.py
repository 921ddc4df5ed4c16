"""The saved table: one snapshot line, replaced atomically, from which a router starts alone."""

import asyncio
import logging
import os
from collections.abc import Callable
from pathlib import Path

from router import feed
from router.errors import FeedError
from router.table import Table

_log = logging.getLogger(__name__)


def load(path: Path) -> Table:
    """Read the saved table; an empty one where there is none. An unreadable file is set aside, not lost."""
    try:
        message = feed.decode(path.read_bytes())
    except FileNotFoundError:
        return Table()
    except FeedError as error:
        message = None
        _log.error("saved route table %s is unreadable: %s", path, error)
    if isinstance(message, feed.Snapshot):
        return table_of(message)
    path.rename(path.with_name(path.name + ".bad"))
    return Table()


def table_of(message: feed.Snapshot) -> Table:
    """Return the table that a snapshot tells."""
    certificates = {item.name: item for item in message.certificates}
    return Table(message.version, message.routes, None, certificates)


def snapshot_of(table: Table) -> feed.Snapshot:
    """Return the message that tells the whole table."""
    return feed.Snapshot(table.version, tuple(table.routes.values()), tuple(table.certificates.values()))


def save(path: Path, table: Table) -> None:
    """Write, sync, rename, sync the folder: after a crash the file holds the old or the new table, whole."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(feed.encode(snapshot_of(table)))
        file.flush()
        os.fsync(file.fileno())
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


class Saver:
    """Saves the newest table behind the event loop, one write at a time; tables in between are skipped."""

    def __init__(self, path: Path, table: Table, saved: Callable[[], None]) -> None:
        """`table` is what the file holds; `saved` is called after each write."""
        self._path = path
        self._newest = table
        self._saved = saved
        self._wanted = asyncio.Event()
        self.version = table.version

    def request(self, table: Table) -> None:
        """Have `table` saved soon."""
        self._newest = table
        self._wanted.set()

    async def run(self) -> None:
        """Save until cancelled.

        A full disk must not stop deployments: a table that cannot be written counts as saved, since the
        control plane sends everything again whenever it meets a router.
        """
        while True:
            await self._wanted.wait()
            self._wanted.clear()
            table = self._newest
            try:
                await asyncio.to_thread(save, self._path, table)
            except OSError as error:
                _log.error("route table not saved: %s", error)
            self.version = table.version
            self._saved()
