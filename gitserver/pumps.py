"""Carries bytes between a git child and its client."""

import asyncio
from collections.abc import Awaitable, Callable

from gitserver.channel import Streams
from gitserver.lines import LineCleaner
from gitserver.pipes import PipeReader


async def output(source: PipeReader, streams: Streams, stall: float) -> None:
    """Copy a child's standard output to the client until its end.

    A client that is gone, or takes nothing for `stall` seconds, is dropped; the child is read on to its end, so that
    it never blocks on a full pipe.
    """
    while data := await source.read():
        await _send(streams.out, data, streams, stall)


async def errors(source: PipeReader, streams: Streams, stall: float) -> None:
    """Copy a child's standard error, cleaned line by line, on the same terms."""
    cleaner = LineCleaner()
    while data := await source.read():
        await _send(streams.err, cleaner.feed(data), streams, stall)
    await _send(streams.err, cleaner.close(), streams, stall)


async def _send(
    write: Callable[[bytes], Awaitable[None]], data: bytes, streams: Streams, stall: float
) -> None:
    if streams.gone or not data:
        return
    try:
        async with asyncio.timeout(stall):
            await write(data)
    except (TimeoutError, ConnectionError):
        streams.abort()
