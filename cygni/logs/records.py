"""The values of the log store: a record, the limits, the errors."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

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


DISORDER = timedelta(minutes=1)
"""Lines are stored as they arrive; so much may a line's own time be behind that of its neighbours."""


@dataclass(frozen=True)
class Filter:
    """Which records a reader wants; None for any."""

    process: str | None = None
    """`web.1`, or `web` for all of them."""
    source: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    text: str | None = None
    """Part of the line, in any case. No pattern: a stranger's pattern could keep a processor busy for ever."""

    def admits(self, record: LogRecord) -> bool:
        """Whether the reader wants this record."""
        if self.source is not None and record.source != self.source:
            return False
        if self.since is not None and record.at < self.since:
            return False
        if self.until is not None and record.at > self.until:
            return False
        if self.text is not None and self.text.lower() not in record.text.lower():
            return False
        process = self.process
        return process is None or record.process == process or record.process.startswith(f"{process}.")

    def may_admit(self, line: bytes) -> bool:
        """False only for a stored line that `admits` would refuse: saves decoding it."""
        if self.text is not None and self.text.isascii() and self.text.lower().encode() not in line.lower():
            return False
        return self.process is None or f"[{self.process}".encode() in line

    def is_before(self, line: bytes) -> bool:
        """True only for a stored line so old that none before it is wanted; times compare as text."""
        if self.since is None:
            return False
        limit = (self.since.astimezone(UTC) - DISORDER).isoformat(timespec="microseconds").encode()
        return line[: len(limit)] < limit
