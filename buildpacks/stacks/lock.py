"""One at a time across processes of a machine: flock(2) on a file, waited for without a thread."""

import asyncio
import contextlib
import fcntl
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

from buildpacks.ports import Announce


@contextlib.asynccontextmanager
async def exclusive(path: Path, timeout: float, announce: Announce, waiting: str) -> AsyncIterator[None]:
    """Hold the lock. `waiting` is announced once if another process has it; `timeout` is in seconds.

    Raises:
        TimeoutError: it was not free in time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        if not _take(descriptor):
            await announce(waiting)
            async with asyncio.timeout(timeout):
                while not _take(descriptor):
                    await asyncio.sleep(random.uniform(0.1, 0.3))  # noqa: S311 - jitter
        yield
    finally:
        os.close(descriptor)


def _take(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
