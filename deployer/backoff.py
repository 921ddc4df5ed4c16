"""When something that keeps failing may be tried again: exponential, with jitter, capped."""

import random
from collections.abc import Callable
from dataclasses import dataclass

FORGOTTEN_AFTER = 3600.0


@dataclass
class _Tries:
    count: int = 0
    last: float = 0.0
    next: float = 0.0


class Backoff:
    """The first try is free, then `base`, `2·base`, … `cap` seconds apart, each times 0.5 to 1.

    Whoever stays quiet for `stable` seconds beyond its delay begins anew. `clock` returns seconds.
    """

    def __init__(
        self, clock: Callable[[], float], *, base: float = 1.0, cap: float = 300.0, stable: float = 60.0
    ) -> None:
        self._clock = clock
        self._base = base
        self._cap = cap
        self._stable = stable
        self._tries: dict[str, _Tries] = {}

    def wait(self, key: str) -> float:
        """Seconds until the next try may be made; 0 for now."""
        tries = self._tries.get(key)
        return max(0.0, tries.next - self._clock()) if tries else 0.0

    def tried(self, key: str) -> float:
        """Count a try; return the seconds until another one may follow."""
        now = self._clock()
        self._forget(now)
        tries = self._tries.setdefault(key, _Tries())
        if tries.count and now - max(tries.last, tries.next) > self._stable:
            tries.count = 0
        delay = min(self._cap, self._base * 2.0 ** min(tries.count, 30)) * random.uniform(0.5, 1)  # noqa: S311
        tries.count, tries.last, tries.next = tries.count + 1, now, now + delay
        return delay

    def _forget(self, now: float) -> None:
        old = [key for key, tries in self._tries.items() if now - tries.next > FORGOTTEN_AFTER]
        for key in old:
            del self._tries[key]
