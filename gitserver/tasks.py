"""Small helpers for structured concurrency."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import structlog

from gitserver.channel import Streams

log = structlog.get_logger()


async def end(task: "asyncio.Future[Any]") -> None:
    """Cancel a task, wait for it, and log what it raised; a finished one is looked at all the same."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        log.warning("a background task failed", exc_info=error)


@asynccontextmanager
async def background(work: Coroutine[Any, Any, None]) -> AsyncIterator["asyncio.Task[None]"]:
    """Run `work` beside the body and end it with the body."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        await end(task)


@asynccontextmanager
async def while_connected(streams: Streams) -> AsyncIterator[None]:
    """Cancel the body when the client disconnects.

    Raises:
        ConnectionResetError: the client has left.
    """
    body = asyncio.current_task()
    assert body is not None
    left = False

    async def watch() -> None:
        nonlocal left
        await streams.wait_gone()
        left = True
        body.cancel()

    watcher = asyncio.create_task(watch())
    try:
        yield
    except asyncio.CancelledError:
        if left and body.uncancel() == 0:
            raise ConnectionResetError("the client has left") from None
        raise
    finally:
        watcher.cancel()
