"""The values of the log store: a record, the limits, the errors."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from cygni.domain.errors import CygniError


class LogStoreError(CygniError):
    """The log store could not be read or written; the text names the cause (disk full, no permission)."""


@dataclass(frozen=True)
class LogRecord:
    """One line of an app's log.

    `instance` names the engine's instance that printed it, for lines that a collector brought;
    it is what a collector resumes from, and is not shown to people.
    """

    at: datetime
    source: str
    """`app`, `cygni` or `router`."""
    process: str
    """`web.1`, `build`, `release`, `router`."""
    text: str
    instance: str = ""


@dataclass(frozen=True)
class LogLimits:
    """Bounds of one app's log. Bytes on disk; the newest segment is never removed for its size."""

    segment_bytes: int = 4 << 20
    segment_age: timedelta = timedelta(days=1)
    total_bytes: int = 64 << 20
    total_age: timedelta = timedelta(days=7)
    queued_batches: int = 1024
    """Appends that may wait for the disk, over all apps; the next one waits its turn."""
    tail_lines: int = 10_000
    """History that one tail may ask for."""
