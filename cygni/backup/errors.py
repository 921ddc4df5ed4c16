"""What can go wrong with a backup; the sentences are in `cygni.backup.messages`."""

from cygni.domain.errors import CygniError


class BackupError(CygniError):
    """A backup cannot be made, read or restored; the text says why and what to do."""
