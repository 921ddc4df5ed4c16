"""Lines on their way to the control plane, bounded while it is away or slow."""

import asyncio
from collections import deque
from typing import Protocol

from router import feed


class Collector(Protocol):
    """Where the lines go."""

    def send(self, line: bytes) -> None:
        """Queue one encoded message."""

    async def drain(self) -> None:
        """Wait until the peer has room again."""


class Spool:
    """A bounded queue of encoded lines: the oldest are dropped first, and counted."""

    def __init__(self, limit: int) -> None:
        """Keep at most `limit` access lines or events."""
        self._limit = limit
        self._lines: deque[tuple[bytes, int]] = deque()
        self._held = 0
        self._dropped = 0
        self._times: dict[str, float] = {}
        self._collector: Collector | None = None
        self._changed = asyncio.Event()

    def add(self, line: bytes, count: int) -> None:
        """Queue a line that stands for `count` access lines or events."""
        self._lines.append((line, count))
        self._held += count
        while self._held > self._limit and self._lines:
            lost = self._lines.popleft()[1]
            self._held -= lost
            self._dropped += lost
        self._changed.set()

    def add_times(self, times: dict[str, float]) -> None:
        """Remember when apps were last asked; only the newest time of each is kept."""
        for app_id, when in times.items():
            self._times[app_id] = max(when, self._times.get(app_id, 0.0))
        self._changed.set()

    def add_dropped(self, count: int) -> None:
        """Count lines that were lost before they came here."""
        self._dropped += count
        self._changed.set()

    def deliver_to(self, collector: Collector | None) -> None:
        """Send what is here and what comes to this collector; None keeps it."""
        self._collector = collector
        self._changed.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while (collector := self._collector) is not None and (line := self._next()) is not None:
                collector.send(line)
                await collector.drain()

    def _next(self) -> bytes | None:
        if self._dropped:
            lost, self._dropped = self._dropped, 0
            return feed.encode(feed.Dropped(lost))
        if self._lines:
            line, count = self._lines.popleft()
            self._held -= count
            return line
        if self._times:
            times, self._times = self._times, {}
            return feed.encode(feed.LastRequests(times))
        return None
