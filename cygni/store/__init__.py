"""The database: tables, repositories that return domain values, migrations, encryption at rest.

May import: cygni.domain.
"""

from cygni.store.errors import (
    DatabaseBusyError,
    DatabaseDamagedError,
    DatabaseUnreachableError,
    DatabaseVersionError,
    DiskFullError,
    KeyFileError,
    StoreError,
)
from cygni.store.notifier import QUEUE, Notifier
from cygni.store.queue import CHANGED
from cygni.store.store import Store

__all__ = [
    "CHANGED",
    "QUEUE",
    "DatabaseBusyError",
    "DatabaseDamagedError",
    "DatabaseUnreachableError",
    "DatabaseVersionError",
    "DiskFullError",
    "KeyFileError",
    "Notifier",
    "Store",
    "StoreError",
]
