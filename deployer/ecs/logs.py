"""Reads the tasks' output back from CloudWatch: one poller for the whole group, fanned out by stream."""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import structlog

from deployer.ecs.aws import Aws
from deployer.ecs.errors import AwsError
from deployer.ecs.lines import Cursor
from deployer.ecs.options import EcsOptions
from deployer.ports import EngineError, LogLine

_MISSING = "ResourceNotFoundException"
_REMEMBERED = 4

log = structlog.get_logger()

Events = Sequence[Mapping[str, Any]]


class Logs:
    """Histories by stream; follows by one FilterLogEvents a tick for all who follow.

    The rate of that call is limited for the account (5 to 25 a second) and cannot be raised, so the number of
    followers must not multiply it.
    """

    def __init__(self, aws: Aws, options: EcsOptions) -> None:
        self._aws = aws
        self._options = options
        self._followers: defaultdict[str, list[asyncio.Queue[Events | EngineError]]] = defaultdict(list)
        self._poller: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Poll no more."""
        if self._poller is not None:
            self._poller.cancel()
            await asyncio.gather(self._poller, return_exceptions=True)

    async def history(self, stream: str, cursor: Cursor) -> AsyncGenerator[LogLine, None]:
        """Everything after the cursor that CloudWatch has."""
        async for page in self._pages(cursor.start, streams=[stream]):
            for line in cursor.take(page):
                yield line
        cursor.forget()

    async def start_of_tail(self, stream: str, lines: int) -> int:
        """The millisecond of the line that is so many lines before the end."""
        try:
            answer = await self._aws.call(
                "logs",
                "get_log_events",
                logGroupName=self._options.log_group,
                logStreamName=stream,
                startFromHead=False,
                limit=min(max(lines, 1), 10_000),
            )
        except AwsError as error:
            if error.code == _MISSING:
                return 0
            raise
        return min((int(event["timestamp"]) for event in answer["events"]), default=0)

    async def follow(
        self, stream: str, since: datetime | None, over: "asyncio.Future[Any]"
    ) -> AsyncGenerator[LogLine, None]:
        """The history, then lines as they come until `over` is done; the last look comes a while after it.

        Raises:
            EngineError: CloudWatch does not answer, or what `over` ended with.
        """
        cursor = Cursor(since)
        with self._subscribed(stream) as queue:
            async for line in self.history(stream, cursor):
                yield line
            while not over.done():
                events = await _next(queue, over)
                if isinstance(events, EngineError):
                    raise events
                for line in cursor.take(events):
                    yield line
                cursor.forget()
        over.result()
        await asyncio.sleep(self._options.pace.log_settle)
        async for line in self.history(stream, cursor):
            yield line

    @contextmanager
    def _subscribed(self, stream: str) -> Iterator[asyncio.Queue[Events | EngineError]]:
        queue: asyncio.Queue[Events | EngineError] = asyncio.Queue()
        self._followers[stream].append(queue)
        if self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll())
        try:
            yield queue
        finally:
            self._followers[stream].remove(queue)
            if not self._followers[stream]:
                del self._followers[stream]

    async def _poll(self) -> None:
        pace = self._options.pace
        overlap = round(pace.log_overlap * 1000)
        newest = round(time.time() * 1000)
        seen: dict[str, int] = {}
        while self._followers:
            try:
                async for page in self._pages(newest - overlap):
                    fresh = [event for event in page if event["eventId"] not in seen]
                    seen |= {event["eventId"]: event["timestamp"] for event in fresh}
                    self._share(fresh)
                # A clock that is ahead must not make us look past the lines of one that is not.
                newest = min(max([newest, *seen.values()]), round(time.time() * 1000))
                seen = {found: at for found, at in seen.items() if at >= newest - _REMEMBERED * overlap}
            except EngineError as error:
                log.warning("polling CloudWatch", error=str(error))
                for queue in [queue for queues in self._followers.values() for queue in queues]:
                    queue.put_nowait(error)
            await asyncio.sleep(pace.log_tick)

    def _share(self, events: Events) -> None:
        by_stream: defaultdict[str, list[Mapping[str, Any]]] = defaultdict(list)
        for event in events:
            by_stream[event["logStreamName"]].append(event)
        for stream, theirs in by_stream.items():
            for queue in self._followers.get(stream, ()):
                queue.put_nowait(theirs)

    async def _pages(self, start: int, streams: Sequence[str] = ()) -> AsyncGenerator[Events, None]:
        """An empty page with a token for the next one is normal."""
        token: str | None = None
        while True:
            arguments: dict[str, Any] = {"logGroupName": self._options.log_group, "startTime": max(0, start)}
            if streams:
                arguments["logStreamNames"] = list(streams)
            if token:
                arguments["nextToken"] = token
            try:
                answer = await self._aws.call("logs", "filter_log_events", **arguments)
            except AwsError as error:
                if error.code == _MISSING and streams:
                    return  # a task that has said nothing yet has no stream
                raise
            yield answer["events"]
            token = answer.get("nextToken")
            if not token:
                return


async def _next(
    queue: "asyncio.Queue[Events | EngineError]", over: "asyncio.Future[Any]"
) -> Events | EngineError:
    """The next lines, or none when it is over."""
    taken = asyncio.ensure_future(queue.get())
    try:
        await asyncio.wait([taken, over], return_when=asyncio.FIRST_COMPLETED)
        return taken.result() if taken.done() else ()
    finally:
        taken.cancel()
