"""Durable work: claims jobs from the store, runs one per app and lane, recovers after a crash.

May import: cygni.store, cygni.domain.
"""

from cygni.jobs.kinds import Handler, JobKind, Retry, Timing
from cygni.jobs.worker import INTERRUPTED, Worker

__all__ = ["INTERRUPTED", "Handler", "JobKind", "Retry", "Timing", "Worker"]
