"""Access lines in the form of Heroku's router, batched on their way to the control plane."""

import asyncio
import re
from collections.abc import Callable
from typing import Final, NamedTuple

from router import feed
from router.faults import Fault
from router.options import Limits

_UNSAFE: Final = re.compile(rb'["\\\x80-\xff]')
_UNSAFE_BYTES: Final = b'"\\' + bytes(range(0x80, 0x100))
_PATH_LIMIT: Final = 2_000
_LAST_SECONDS: Final = 1.0
_LINE: Final = (
    b'["%b",%de-6,"%b method=%b path=\\"%b\\" host=%b request_id=%b fwd=\\"%b\\" dyno=%b connect=%b '
    b'service=%dms%b status=%d bytes=%d protocol=http"]'
)
"""One `feed.AccessLine` as JSON, written at once: what is put in has no quote, backslash or control byte."""


INFO: Final = b"at=info"
"""How the line of a request that went well begins."""


class Record(NamedTuple):
    """One finished request, in the order of `_LINE`; a part that does not apply is empty."""

    app_id: bytes
    """As it stands in a JSON string; so does `instance`."""
    time: float
    """Microseconds of Unix time at the end."""
    kind: bytes
    method: bytes
    path: bytes
    host: bytes
    request_id: bytes
    forwarded: bytes
    instance: bytes
    connect: bytes
    service: float
    """Milliseconds."""
    hold: bytes
    status: int
    size: int


def kind_of(fault: Fault) -> bytes:
    """Write how the line of a failed request begins."""
    return f'at=error code={fault.code} desc=\\"{fault.desc}\\"'.encode()


def milliseconds(seconds: float) -> bytes:
    """Write a duration."""
    return b"%dms" % (seconds * 1_000 + 0.5)


def quoted(path: bytes) -> bytes:
    """Make a request target safe inside double quotes: quote, backslash and high bytes become %XX."""
    if len(path) <= _PATH_LIMIT and path.translate(None, _UNSAFE_BYTES) == path:
        return path
    shown = path if len(path) <= _PATH_LIMIT else path[:_PATH_LIMIT] + b"..."
    return _UNSAFE.sub(lambda match: b"%%%02X" % match[0][0], shown)


class AccessLog:
    """Collects lines and last-request times and hands them on in batches. Bounded: more is counted as lost."""

    def __init__(
        self, limits: Limits, send: Callable[[bytes], bool], loop: asyncio.AbstractEventLoop
    ) -> None:
        """`send` takes an encoded message and returns whether there was room for it."""
        self._limits = limits
        self._send = send
        self._loop = loop
        self._lines: list[bytes] = []
        self._last: dict[str, float] = {}
        self._lost = 0
        self._flush: asyncio.TimerHandle | None = None
        self._tell: asyncio.TimerHandle | None = None

    def add(self, app_id: str, now: float, record: Record) -> None:
        """Log one request that ended `now`."""
        self._last[app_id] = now
        if len(self._lines) < self._limits.access_batch:
            self._lines.append(_LINE % record)
        else:
            self._lost += 1
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
