"""What is counted: by workers for a second at a time, summed by their parent, shown as Prometheus text."""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from router import feed
from router.table import AppRoute

BOUNDS: Final = (5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 30_000)
"""Upper bounds of the duration histogram, in milliseconds."""

_CLASSES: Final = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")
_APPS: Final = 10_000


class Tally:
    """One app's requests since the last report."""

    __slots__ = ("buckets", "classes", "holds", "milliseconds", "received", "retries")

    def __init__(self) -> None:
        self.classes = [0] * len(_CLASSES)
        self.buckets = [0] * (len(BOUNDS) + 1)
        self.milliseconds = 0.0
        self.received = 0
        self.retries = 0
        self.holds = 0

    def numbers(self) -> list[int]:
        """Return everything as one list, which adds up number by number."""
        sums = (round(self.milliseconds), self.received, self.retries, self.holds)
        return [*self.classes, *self.buckets, *sums]


class Meter:
    """A worker's counters."""

    def __init__(self, send: Callable[[bytes], bool]) -> None:
        """`send` takes an encoded message; a report it has no room for is counted on."""
        self._send = send
        self._tallies: dict[str, Tally] = {}
        self._gauges: dict[str, int] = {}

    def count(self, app_id: str, status: int, milliseconds: float, size: int) -> Tally:
        """Count one finished request."""
        tally = self._tallies.get(app_id)
        if tally is None:
            tally = self._tallies[app_id] = Tally()
        tally.classes[status // 100 if status < 600 else 0] += 1
        tally.buckets[bisect_left(BOUNDS, milliseconds)] += 1
        tally.milliseconds += milliseconds
        tally.received += size
        return tally

    def report(self, gauges: dict[str, int]) -> None:
        """Send what was counted since the last time, and the present state; nothing when nothing changed."""
        if not self._tallies and gauges == self._gauges:
            return
        apps = {app_id: tally.numbers() for app_id, tally in self._tallies.items()}
        if self._send(feed.encode(feed.Stats(apps, gauges))):
            self._tallies, self._gauges = {}, gauges


class Metrics:
    """The sums over all workers, those that have ended included."""

    def __init__(self) -> None:
        self._apps: dict[str, list[int]] = {}
        self._gauges: dict[object, Mapping[str, int]] = {}

    def add(self, worker: object, stats: feed.Stats) -> None:
        """Add a worker's report."""
        self._gauges[worker] = stats.gauges
        for app_id, numbers in stats.apps.items():
            known = self._apps.get(app_id)
            if known is not None:
                self._apps[app_id] = [a + b for a, b in zip(known, numbers, strict=True)]
            elif len(self._apps) < _APPS:
                self._apps[app_id] = list(numbers)

    def leave(self, worker: object) -> None:
        """Forget the state of a worker that ended; its counts stay."""
        self._gauges.pop(worker, None)

    def keep_only(self, routes: Mapping[str, AppRoute]) -> None:
        """Forget apps that have no route any more: what is kept is bounded by what exists."""
        for app_id in [app_id for app_id in self._apps if app_id not in routes]:
            del self._apps[app_id]

    def text(self, routes: Mapping[str, AppRoute]) -> str:
        """Write Prometheus's text format."""
        named = sorted((routes[key].app, numbers) for key, numbers in self._apps.items() if key in routes)
        lines = [*self._gauge_lines()]
        for name, kind, write in _FAMILIES:
            lines.append(f"# TYPE {name} {kind}")
            for app, numbers in named:
                lines += write(name, f'app="{app}"', numbers)
        return "\n".join(lines) + "\n"

    def _gauge_lines(self) -> Iterable[str]:
        yield "# TYPE cygni_router_workers gauge"
        yield f"cygni_router_workers {len(self._gauges)}"
        for name in ("connections", "in_flight", "held"):
            yield f"# TYPE cygni_router_{name} gauge"
            yield f"cygni_router_{name} {sum(gauges.get(name, 0) for gauges in self._gauges.values())}"


def _requests(name: str, labels: str, numbers: list[int]) -> Iterable[str]:
    for status, count in zip(_CLASSES, numbers, strict=False):
        if count:
            yield f'{name}{{{labels},status="{status}"}} {count}'


def _durations(name: str, labels: str, numbers: list[int]) -> Iterable[str]:
    below = 0
    counts = numbers[len(_CLASSES) : len(_CLASSES) + len(BOUNDS) + 1]
    for bound, count in zip((*(bound / 1_000 for bound in BOUNDS), "+Inf"), counts, strict=True):
        below += count
        yield f'{name}_bucket{{{labels},le="{bound}"}} {below}'
    yield f"{name}_sum{{{labels}}} {numbers[-4] / 1_000}"
    yield f"{name}_count{{{labels}}} {below}"


def _number(index: int) -> Callable[[str, str, list[int]], Iterable[str]]:
    return lambda name, labels, numbers: [f"{name}{{{labels}}} {numbers[index]}"]


_FAMILIES: Final = (
    ("cygni_router_requests_total", "counter", _requests),
    ("cygni_router_request_duration_seconds", "histogram", _durations),
    ("cygni_router_response_bytes_total", "counter", _number(-3)),
    ("cygni_router_retries_total", "counter", _number(-2)),
    ("cygni_router_holds_total", "counter", _number(-1)),
)
