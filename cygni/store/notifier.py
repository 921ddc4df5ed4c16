"""Tells coroutines of this process what just changed in the database, so that nobody has to poll for it."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

QUEUE = "queue"
"""Topic: a job may have become claimable. The end of a job has the job's id as its topic."""


class Notifier:
    """Topics and who waits for them.

    What other processes change is heard on PostgreSQL only (`cygni.store.listening`): waiters also look now and then.
    """

    def __init__(self) -> None:
        self._waiting: defaultdict[str, set[asyncio.Event]] = defaultdict(set)

    def publish(self, topic: str) -> None:
        """Wake everyone who waits for the topic."""
        for event in self._waiting.get(topic, ()):
            event.set()

    def publish_all(self) -> None:
        """Wake everyone: something may have changed unheard."""
        for topic in tuple(self._waiting):
            self.publish(topic)

    @contextmanager
    def subscribe(self, topic: str) -> Iterator[asyncio.Event]:
        """An event that is set by what is published from now on. Subscribe first, then look, then wait."""
        event = asyncio.Event()
        self._waiting[topic].add(event)
        try:
            yield event
        finally:
            self._waiting[topic].discard(event)
            if not self._waiting[topic]:
                del self._waiting[topic]
