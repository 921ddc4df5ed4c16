"""Access lines in the form of Heroku's router, batched on their way to the control plane."""

import asyncio
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from router import feed
from router.faults import Fault
from router.options import Limits

_UNSAFE: Final = re.compile(rb'["\\\x80-\xff]')
_PATH_LIMIT: Final = 2_000
_LAST_SECONDS: Final = 1.0


@dataclass(slots=True)
class Record:
    """One finished request. Times are seconds."""

    app_id: str
    method: bytes
    path: bytes
    host: bytes
    request_id: bytes
    forwarded: bytes
    instance: str
    connect: float | None
    service: float
    status: int
    size: int
    time: float
    """Unix time of the end."""
    fault: Fault | None = None


def quoted(path: bytes) -> str:
    """Make a request target safe inside double quotes: quote, backslash and high bytes become %XX."""
    shown = path if len(path) <= _PATH_LIMIT else path[:_PATH_LIMIT] + b"..."
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], shown).decode("ascii")


def line_of(record: Record) -> str:
    """Format a record; a field that does not apply is empty."""
    fault = record.fault
    kind = "at=info" if fault is None else f'at=error code={fault.code} desc="{fault.desc}"'
    connect = "" if record.connect is None else f"{record.connect * 1_000:.0f}ms"
    return (
        f'{kind} method={record.method.decode()} path="{quoted(record.path)}" host={record.host.decode()} '
        f'request_id={record.request_id.decode()} fwd="{record.forwarded.decode()}" dyno={record.instance} '
        f"connect={connect} service={record.service * 1_000:.0f}ms status={record.status} "
        f"bytes={record.size} protocol=http"
    )


class AccessLog:
    """Collects lines and last-request times and hands them on in batches. Bounded: more is counted as lost."""

    def __init__(
        self, limits: Limits, send: Callable[[bytes], bool], loop: asyncio.AbstractEventLoop
    ) -> None:
        """`send` takes an encoded message and returns whether there was room for it."""
        self._limits = limits
        self._send = send
        self._loop = loop
        self._lines: list[feed.AccessLine] = []
        self._last: dict[str, float] = {}
        self._lost = 0
        self._flush: asyncio.TimerHandle | None = None
        self._tell: asyncio.TimerHandle | None = None

    def add(self, record: Record) -> None:
        """Log one request."""
        self._last[record.app_id] = record.time
        if len(self._lines) >= self._limits.access_batch:
            self._lost += 1
        else:
            self._lines.append(feed.AccessLine(record.app_id, round(record.time, 6), line_of(record)))
        if self._flush is None:
            self._flush = self._loop.call_later(self._limits.access_flush, self.flush)
        if self._tell is None:
            self._tell = self._loop.call_later(_LAST_SECONDS, self.tell)

    def flush(self) -> None:
        """Send what has been collected."""
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        lines, self._lines = self._lines, []
        if lines and not self._send(feed.encode_access(lines)):
            self._lost += len(lines)
        if self._lost and self._send(feed.encode(feed.Dropped(self._lost))):
            self._lost = 0

    def tell(self) -> None:
        """Send the last-request times."""
        if self._tell is not None:
            self._tell.cancel()
            self._tell = None
        times, self._last = self._last, {}
        if times:
            self._send(feed.encode(feed.LastRequests(times)))
