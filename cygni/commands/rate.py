"""How many commands one person may start: enough for a script, too few to keep the server busy."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_PEOPLE = 4096


@dataclass
class _Bucket:
    tokens: float
    filled: float


class CommandRate:
    """A bucket of `burst` commands for each person, filled with `per_second`."""

    def __init__(
        self, burst: float = 300, per_second: float = 10, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def take(self, who: str) -> float:
        """Count a command; returns 0, or the seconds until this person may run the next one."""
        bucket = self._fill(who)
        if bucket.tokens < 1:
            return (1 - bucket.tokens) / self._per_second
        bucket.tokens -= 1
        return 0.0

    def _fill(self, who: str) -> _Bucket:
        now = self._clock()
        bucket = self._buckets.setdefault(who, _Bucket(self._burst, now))
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled) * self._per_second)
        bucket.filled = now
        self._buckets.move_to_end(who)
        if len(self._buckets) > MOST_PEOPLE:
            self._buckets.popitem(last=False)
        return bucket
