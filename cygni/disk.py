"""The disk's watermark: below it nothing is received or built."""

import shutil
from pathlib import Path

from cygni import messages
from cygni.domain.errors import ConflictError


class Disk:
    """Free space where the state is kept."""

    def __init__(self, directory: Path, reserve: int) -> None:
        self._directory = directory
        self._reserve = reserve

    @property
    def free(self) -> int:
        """Free bytes."""
        return shutil.disk_usage(self._directory).free

    def check(self) -> None:
        """Let pass while there is room.

        Raises:
            ConflictError: with what is free and what must stay.
        """
        free = self.free
        if free < self._reserve:
            raise ConflictError(messages.disk_almost_full(free, self._reserve))
