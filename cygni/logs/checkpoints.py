"""How far each instance's output is stored, so that a collector resumes without loss or repetition.

The records themselves are the checkpoint: one write stores the lines and the fact that they are stored.
An engine's timestamps are coarse and may be a little out of order (stdout against stderr), so the last
second is remembered line by line instead of as one instant.
"""

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from zlib import crc32

from cygni.logs.format import instance_key
from cygni.logs.records import LogRecord

WINDOW = timedelta(seconds=1)
"""By how much an engine's lines may be out of order."""
WINDOW_LINES = 4096
INSTANCES = 1000
"""Instances of one app that are remembered; the longest silent one goes first."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Resume:
    """Where to go on for one instance. Give every line the engine returns to `is_stored`, once, in order."""

    def __init__(self, floor: datetime, recent: Iterable[tuple[datetime, int]]) -> None:
        self._floor = floor
        self._recent = Counter(recent)

    @property
    def since(self) -> datetime | None:
        """What to ask the engine for: lines after this; None for all."""
        return None if self._floor == _EPOCH else self._floor

    def is_stored(self, record: LogRecord) -> bool:
        """Whether the store has this line already; a repeated line is counted as often as it was stored."""
        if record.at <= self._floor:
            return True
        mark = (record.at, crc32(record.text.encode()))
        if self._recent[mark] == 0:
            return False
        self._recent[mark] -= 1
        return True


class _Checkpoint:
    def __init__(self, floor: datetime = _EPOCH, recent: Iterable[tuple[datetime, int]] = ()) -> None:
        self.floor = floor
        self.recent = deque(recent)
        self.at = max((at for at, _ in self.recent), default=floor)

    def add(self, record: LogRecord) -> None:
        self.recent.append((record.at, crc32(record.text.encode())))
        self.at = max(self.at, record.at)
        while len(self.recent) > WINDOW_LINES or self.recent[0][0] < self.at - WINDOW:
            self.floor = max(self.floor, self.recent.popleft()[0])

    def dump(self) -> list[Any]:
        return [_to_number(self.floor), [[_to_number(at), mark] for at, mark in self.recent]]


class Checkpoints:
    """The checkpoints of one app's instances. Kept by digest of the instance's id."""

    def __init__(self) -> None:
        self._of: dict[str, _Checkpoint] = {}

    def add(self, record: LogRecord, key: str) -> None:
        """Note that this record is stored; `key` is its instance's, empty for none."""
        if not key:
            return
        checkpoint = self._of.pop(key, None) or _Checkpoint()
        checkpoint.add(record)
        self._of[key] = checkpoint  # last again: the dictionary is in order of last output
        while len(self._of) > INSTANCES:
            del self._of[next(iter(self._of))]

    def at(self, instance_id: str) -> datetime | None:
        """When the newest stored line of this instance was printed."""
        checkpoint = self._of.get(instance_key(instance_id))
        return checkpoint.at if checkpoint else None

    def resume(self, instance_id: str) -> Resume:
        """Where a collector of this instance goes on."""
        checkpoint = self._of.get(instance_key(instance_id)) or _Checkpoint()
        return Resume(checkpoint.floor, checkpoint.recent)

    def forget(self, instance_id: str) -> None:
        """Drop what is remembered of an instance that will never print again."""
        self._of.pop(instance_key(instance_id), None)

    def dump(self) -> dict[str, list[Any]]:
        """As JSON values, for `load`."""
        return {key: checkpoint.dump() for key, checkpoint in self._of.items()}

    def load(self, values: Mapping[str, list[Any]]) -> None:
        """Replace what is remembered by what `dump` gave.

        Raises:
            ValueError, TypeError, KeyError: the values are not what `dump` gives.
        """
        self._of = {
            key: _Checkpoint(_to_time(floor), [(_to_time(at), mark) for at, mark in recent])
            for key, (floor, recent) in values.items()
        }


def _to_number(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND


def _to_time(number: int) -> datetime:
    return _EPOCH + timedelta(microseconds=number)
