"""What a job does, and what becomes of it when the process that ran it dies."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from cygni.domain.models import Job

Handler = Callable[[Job], Awaitable[str | None]]
"""Does the work and returns the result line. Whatever it raises fails the job, but `TransientError` is retried."""


@dataclass(frozen=True)
class JobKind:
    """A kind of job.

    `abandoned` says what happens to one that was running when its worker died or was stopped: it waits again
    (the handler must bear being run twice), or it fails. Before either, `on_abandoned` may tidy up; it must
    bear being run twice too, and has a minute. `limit` is the longest a handler may take, in seconds.
    """

    handler: Handler
    abandoned: Literal["requeue", "fail"] = "fail"
    on_abandoned: Callable[[Job], Awaitable[None]] | None = None
    limit: float = 2 * 3600.0


@dataclass(frozen=True)
class Retry:
    """How a `TransientError` is retried: tries in all, and the wait before the next, in seconds."""

    tries: int = 5
    first: float = 0.5
    longest: float = 10.0

    def delay(self, failed: int) -> float:
        """Doubles with each failed try up to the longest; between half and all of that, by chance."""
        longest: float = min(self.longest, self.first * 2 ** (failed - 1))
        return longest * random.uniform(0.5, 1)  # noqa: S311  # no secret


@dataclass(frozen=True)
class Timing:
    """A worker's clocks, in seconds."""

    heartbeat: float = 5.0
    dead_after: float = 30.0
    """Silence after which another worker's jobs are taken over, where several share a database."""
    poll: float = 10.0
    """How soon a change made by another process is seen; those of this process are seen at once."""
    cancel: float = 10.0
    """How long a cancelled handler may take to clean up."""
