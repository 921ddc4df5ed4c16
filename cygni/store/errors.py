"""What can go wrong with the database itself. Mistakes of people are in `cygni.domain.errors`."""

from cygni.domain.errors import CygniError, TransientError


class StoreError(CygniError):
    """The database cannot be used as it is; an operator has to act."""


class DiskFullError(StoreError):
    """Nothing was written, because the database's disk or quota is full."""


class DatabaseDamagedError(StoreError):
    """The database, or a value in it, is not what was written."""


class DatabaseVersionError(StoreError):
    """A newer version of Cygni wrote this database; migrations only go forward."""


class KeyFileError(StoreError):
    """The file with the secret keys is missing, damaged, exposed, or of another database."""


class DatabaseBusyError(TransientError):
    """Others held the database for longer than a transaction may wait."""


class DatabaseUnreachableError(TransientError):
    """The database server does not answer."""
