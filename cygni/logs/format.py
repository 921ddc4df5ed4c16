"""How a record looks: to people, and on disk.

Both are one line; the one on disk carries in addition a short digest of the instance's id:
`2012-06-05T17:47:52.123456+00:00 app[web.4]@8f14e45fceea167a: message`.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import blake2s

from cygni.logs.records import LogRecord

LINE_BYTES = 10_000
"""A longer line becomes several records, as Heroku's log system does."""

_STORED = re.compile(r"(\S{32}) ([a-z]{1,16})\[([A-Za-z0-9_.-]{1,80})\](?:@([0-9a-f]{16}))?: (.*)", re.DOTALL)
_SOURCE = re.compile(r"[a-z]{1,16}")
_PROCESS = re.compile(r"[A-Za-z0-9_.-]{1,80}")


def format_record(record: LogRecord) -> str:
    """The line people see, without a newline."""
    return f"{_timestamp(record.at)} {record.source}[{record.process}]: {record.text}"


def instance_key(instance_id: str) -> str:
    """Sixteen hex digits that stand for an instance's id on disk."""
    return blake2s(instance_id.encode(), digest_size=8).hexdigest()


def encode(record: LogRecord) -> bytes:
    """The line on disk, with its newline. `record.text` must not contain one: see `lines_of`.

    Raises:
        ValueError: the source or the process is not a name.
    """
    if not (_SOURCE.fullmatch(record.source) and _PROCESS.fullmatch(record.process)):
        raise ValueError(f"not a log source: {record.source}[{record.process}]")
    origin = f"@{instance_key(record.instance)}" if record.instance else ""
    head = f"{_timestamp(record.at)} {record.source}[{record.process}]{origin}: "
    return head.encode() + record.text.encode(errors="replace") + b"\n"


def decode(line: bytes) -> tuple[LogRecord, str] | None:
    """A line on disk as its record and instance key; None for one that is damaged."""
    match = _STORED.fullmatch(line.decode(errors="replace").removesuffix("\n"))
    if match is None:
        return None
    try:
        at = datetime.fromisoformat(match[1])
    except ValueError:
        return None
    return LogRecord(at=at, source=match[2], process=match[3], text=match[5]), match[4] or ""


def lines_of(record: LogRecord) -> Iterator[LogRecord]:
    """The record as one or more that each hold one line of at most `LINE_BYTES` bytes.

    Splitting twice gives the same records, so a collector that resumes recognises the pieces.
    """
    for line in record.text.split("\n"):
        for piece in _pieces(line.removesuffix("\r")):
            yield record if piece == record.text else replace(record, text=piece)


def _pieces(line: str) -> Iterator[str]:
    data = line.encode(errors="replace")
    if len(data) <= LINE_BYTES:
        yield data.decode()
        return
    start = 0
    while start < len(data):
        end = _character_boundary(data, min(start + LINE_BYTES, len(data)))
        yield data[start:end].decode()
        start = end


def _character_boundary(data: bytes, end: int) -> int:
    while end < len(data) and data[end] & 0xC0 == 0x80:
        end -= 1
    return end


def _timestamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")
