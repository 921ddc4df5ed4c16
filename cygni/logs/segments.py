"""One app's log on disk: append-only segments, addressed by one ever growing byte position.

Blocking calls only; `LogStore` runs the writing ones one at a time in a thread, the reading ones in any.

Durability: an append is one `write` per 256 KiB, without a buffer of ours, so a line that was
acknowledged survives `kill -9`. It is forced to the disk (`fsync`) when its segment is full and not
before: after a power cut the newest lines may be missing, their checkpoints with them, and the
collectors fetch them from the engine again.
"""

import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

from cygni.logs.checkpoints import Checkpoints
from cygni.logs.format import decode, encode, instance_key
from cygni.logs.records import Filter, LogLimits, LogRecord, LogStoreError

BLOCK = 256 << 10
"""Bytes read or written at a time."""

ORIGIN = b"]@"
"""In every stored line that an instance printed."""

_NAME = re.compile(r"(\d{20})-(\d{10})\.log")
_CHECKPOINTS = "checkpoints.json"


@dataclass(frozen=True)
class Segment:
    """One file: the bytes of the log from position `base` on; begun at `created`.

    `line` counts the lines before it since the log was opened; None for a segment that is older than that.
    """

    path: Path
    base: int
    created: datetime
    line: int | None = None


@dataclass(frozen=True)
class Cursor:
    """Where a reader is: a position, and how many lines of this log, since it was opened, are before it."""

    position: int
    line: int | None = None


class AppLog:
    """One app's segments. `tip` is behind the last whole line."""

    def __init__(self, directory: Path, limits: LogLimits) -> None:
        self._directory = directory
        self._limits = limits
        self._segments = _find_segments(directory)
        self.tip = Cursor(_end_of(self._segments), 0)
        self.checkpoints = Checkpoints()
        self._recover_checkpoints()

    @property
    def end(self) -> int:
        """The position behind the last whole line."""
        return self.tip.position

    def append(self, records: Sequence[LogRecord]) -> None:
        """Store records in this order; each is one line (`lines_of`).

        Raises:
            LogStoreError: the disk refused; a batch may then be stored in part, never a line.
        """
        try:
            for chunk in _chunks(records, min(BLOCK, self._limits.segment_bytes)):
                self._rotate_if_due(datetime.now(UTC))
                self._write(b"".join(line for _, line in chunk))
                for record, _ in chunk:
                    self.checkpoints.add(record, instance_key(record.instance) if record.instance else "")
        except OSError as error:
            raise LogStoreError(f"the log cannot be written: {error}") from error

    def last(self, count: int, wanted: Filter) -> tuple[list[LogRecord], Cursor]:
        """The last `count` wanted records in order, and where the log ended.

        Raises:
            LogStoreError: the disk refused.
        """
        tip = self.tip
        found: list[LogRecord] = []
        for line in self._lines_backward(tip.position) if count else ():
            if wanted.is_before(line):
                break
            if wanted.may_admit(line) and (decoded := decode(line)) and wanted.admits(decoded[0]):
                found.append(decoded[0])
                if len(found) == count:
                    break
        return found[::-1], tip

    def read(self, cursor: Cursor, wanted: Filter) -> tuple[list[LogRecord], Cursor]:
        """The wanted records of the next block from the cursor on, and what is behind it.

        When the segment was removed meanwhile, the first record says how many lines are missing.

        Raises:
            LogStoreError: the disk refused.
        """
        segments = self._segments  # one view of it: the writer replaces the tuple meanwhile
        first = Cursor(segments[0].base, segments[0].line) if segments else self.tip
        if cursor.position < first.position:
            return [_missing(cursor, first)], first
        data, behind = self._block(segments, cursor.position)
        lines = data.split(b"\n")[:-1]
        line = None if cursor.line is None else cursor.line + len(lines)
        asked = (decode(item) for item in lines if wanted.may_admit(item))
        return [item[0] for item in asked if item and wanted.admits(item[0])], Cursor(behind, line)

    def retire(self) -> None:
        """Begin a new segment if this one is old, and remove those beyond the limits.

        Raises:
            LogStoreError: the disk refused.
        """
        try:
            if self._segments:
                self._rotate_if_due(datetime.now(UTC))
        except OSError as error:
            raise LogStoreError(f"the log cannot be rotated: {error}") from error

    def remove(self) -> None:
        """Delete the whole log; it is as if it had never been."""
        self._segments = ()
        shutil.rmtree(self._directory, ignore_errors=True)

    def _rotate_if_due(self, now: datetime) -> None:
        if self._segments:
            newest = self._segments[-1]
            size = self.end - newest.base
            young = now - newest.created < self._limits.segment_age
            if size == 0 or (young and size < self._limits.segment_bytes):
                self._drop_old(now)
                return
            _sync(newest.path)
            self._save_checkpoints()
        self._begin_segment(now)
        self._drop_old(now)

    def _begin_segment(self, now: datetime) -> None:
        self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._directory / f"{self.end:020d}-{int(now.timestamp()):010d}.log"
        path.touch(mode=0o600)
        _sync(self._directory)
        self._segments = (*self._segments, Segment(path, self.end, now, self.tip.line))

    def _drop_old(self, now: datetime) -> None:
        ended = {before: after.created for before, after in pairwise(self._segments)}
        for segment, at in ended.items():
            too_big = self.end - segment.base > self._limits.total_bytes
            if not too_big and now - at < self._limits.total_age:
                return
            self._segments = self._segments[1:]
            segment.path.unlink(missing_ok=True)

    def _write(self, data: bytes) -> None:
        newest = self._segments[-1]
        size = self.end - newest.base
        descriptor = os.open(newest.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, size)  # a line torn by a crash or a full disk is not joined to the next
            _write_all(descriptor, data)
        except OSError:
            os.ftruncate(descriptor, size)
            raise
        finally:
            os.close(descriptor)
        assert self.tip.line is not None
        self.tip = Cursor(self.end + len(data), self.tip.line + data.count(b"\n"))

    def _block(self, segments: Sequence[Segment], position: int) -> tuple[bytes, int]:
        index = max(i for i, segment in enumerate(segments) if segment.base <= position)
        following = segments[index + 1].base if index + 1 < len(segments) else None
        stop = min(self.end, position + BLOCK, following or self.end)
        try:
            data = _read_range(segments[index].path, position - segments[index].base, stop - position)
        except FileNotFoundError:
            return b"", position  # removed since: the caller finds out with its next read
        except OSError as error:
            raise LogStoreError(f"the log cannot be read: {error}") from error
        whole = data[: data.rfind(b"\n") + 1]
        return whole, position + len(whole) if whole else following or self.end

    def _lines_backward(self, end: int) -> Iterator[bytes]:
        for segment in reversed(self._segments):
            try:
                yield from _reversed_lines(segment.path, max(0, end - segment.base))
            except FileNotFoundError:
                return
            except OSError as error:
                raise LogStoreError(f"the log cannot be read: {error}") from error
            end = segment.base

    def _save_checkpoints(self) -> None:
        content = json.dumps({"position": self.end, "instances": self.checkpoints.dump()})
        path = self._directory / _CHECKPOINTS
        draft = path.with_suffix(".new")
        draft.write_text(content)
        _sync(draft)
        draft.replace(path)

    def _recover_checkpoints(self) -> None:
        position = 0
        with suppress(FileNotFoundError, ValueError, TypeError, KeyError, AttributeError):
            saved = json.loads((self._directory / _CHECKPOINTS).read_bytes())
            self.checkpoints.load(saved["instances"])
            position = int(saved["position"])
        position = max(position, self._segments[0].base if self._segments else self.end)
        while position < self.end:
            data, position = self._block(self._segments, position)
            for line in data.split(b"\n")[:-1]:
                if ORIGIN in line and (decoded := decode(line)):
                    self.checkpoints.add(*decoded)


def _missing(cursor: Cursor, first: Cursor) -> LogRecord:
    if cursor.line is None or first.line is None:
        count = f"{first.position - cursor.position:,} bytes of older log"
    else:
        count = f"{first.line - cursor.line:,} lines"
    text = f"{count} were removed before they could be shown: what reads this log is too slow"
    return LogRecord(at=datetime.now(UTC), source="cygni", process="logs", text=text)


def _chunks(records: Iterable[LogRecord], limit: int) -> Iterator[list[tuple[LogRecord, bytes]]]:
    chunk: list[tuple[LogRecord, bytes]] = []
    size = 0
    for record in records:
        line = encode(record)
        if chunk and size + len(line) > limit:
            yield chunk
            chunk, size = [], 0
        chunk.append((record, line))
        size += len(line)
    if chunk:
        yield chunk


def _find_segments(directory: Path) -> tuple[Segment, ...]:
    if not directory.is_dir():
        return ()
    found = ((path, _NAME.fullmatch(path.name)) for path in directory.iterdir())
    segments = (
        Segment(path, int(match[1]), datetime.fromtimestamp(int(match[2]), UTC))
        for path, match in found
        if match
    )
    return tuple(sorted(segments, key=lambda segment: segment.base))


def _end_of(segments: Sequence[Segment]) -> int:
    if not segments:
        return 0
    newest = segments[-1]
    size = newest.path.stat().st_size
    return newest.base + size - _torn_bytes(newest.path, size)


def _torn_bytes(path: Path, size: int) -> int:
    """How many bytes stand behind the last newline: a line that a crash cut off."""
    torn = 0
    while torn < size:
        start = max(0, size - torn - BLOCK)
        data = _read_range(path, start, size - torn - start)
        if b"\n" in data:
            return torn + len(data) - data.rfind(b"\n") - 1
        torn += len(data)
    return torn


def _reversed_lines(path: Path, end: int) -> Iterator[bytes]:
    rest = b""
    while end > 0:
        start = max(0, end - BLOCK)
        lines = (_read_range(path, start, end - start) + rest).split(b"\n")
        rest, end = lines[0], start
        yield from (line for line in reversed(lines[1:]) if line)
    if rest:
        yield rest


def _read_range(path: Path, offset: int, count: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(offset)
        return file.read(count) or b""


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
