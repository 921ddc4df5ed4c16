"""Lines of one log stream in order, each with a time of its own. Pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from deployer.ports import LogLine

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECONDS = 999


def milliseconds(at: datetime) -> int:
    """CloudWatch's clock."""
    return (at - _EPOCH) // timedelta(milliseconds=1)


@dataclass
class Cursor:
    """Where a reader of a stream is.

    CloudWatch counts milliseconds, and a position in a log must be a time of its own: the lines of one
    millisecond are numbered in microseconds. Whoever begins in the middle begins at a full millisecond, so that
    the numbers come out the same.
    """

    since: datetime | None = None
    at: int = 0
    """The millisecond of the newest line taken."""
    index: int = -1
    seen: dict[str, int] = field(default_factory=dict)
    """Lines taken of late, by event id: what is read twice is told once."""

    @property
    def start(self) -> int:
        """The millisecond to read from."""
        if self.at:
            return self.at
        return milliseconds(self.since) if self.since else 0

    def take(self, events: Iterable[Mapping[str, Any]]) -> Iterator[LogLine]:
        """The lines that were not told yet."""
        for event in events:
            stamp, found = int(event["timestamp"]), str(event["eventId"])
            if found in self.seen or stamp < self.at:
                continue
            self.index = self.index + 1 if stamp == self.at else 0
            self.at = stamp
            self.seen[found] = stamp
            at = _EPOCH + timedelta(milliseconds=stamp, microseconds=min(self.index, _MICROSECONDS))
            if self.since is None or at > self.since:
                yield LogLine(at, "stdout", str(event["message"]).rstrip("\r\n"))

    def forget(self) -> None:
        """Ids of older milliseconds are not needed: nothing before the newest line is taken."""
        self.seen = {found: stamp for found, stamp in self.seen.items() if stamp >= self.at}
