"""Every app's log: ordered, batched appends; history and live lines without a gap or a repetition."""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from cygni.logs.checkpoints import Resume
from cygni.logs.format import lines_of
from cygni.logs.records import Filter, LogLimits, LogRecord, LogStoreError
from cygni.logs.segments import AppLog, Cursor

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_BATCH = 256
_Result = TypeVar("_Result")


@dataclass(eq=False)
class _Feed:
    """An open log and the followers to wake when it grows."""

    log: AppLog
    followers: set[asyncio.Event] = field(default_factory=set)
    ended: bool = False

    def wake(self) -> None:
        for follower in self.followers:
            follower.set()


@dataclass(eq=False)
class _Request:
    """Work for the writer: records to append, or an action on the feed."""

    app_id: str
    done: asyncio.Future[Any]
    records: Sequence[LogRecord] = ()
    action: Callable[[_Feed], object] | None = None
    result: object = None
    error: Exception | None = None

    def settle(self) -> None:
        if self.done.done():
            return  # who asked was cancelled meanwhile
        if self.error is not None:
            self.done.set_exception(self.error)
        else:
            self.done.set_result(self.result)


class LogStore:
    """The log store under one directory. One task writes, in a thread and for all apps; `close` ends it.

    One process at a time may write below a directory.
    """

    def __init__(self, directory: Path, limits: LogLimits | None = None) -> None:
        self._directory = directory
        self._limits = limits or LogLimits()
        self._feeds: dict[str, _Feed] = {}
        self._removed: set[str] = set()
        """Apps that are gone for good: whatever still has a word about them must not bring their log back."""
        self._queue: asyncio.Queue[_Request | None] = asyncio.Queue()  # bounded by the turns
        self._turns = asyncio.Semaphore(self._limits.queued_batches)
        self._writer: asyncio.Task[None] | None = None
        self._closed = False

    async def append(self, app_id: str, records: Iterable[LogRecord]) -> None:
        """Store records behind those stored before; returns when they would survive `kill -9`.

        A text with newlines or of more than 10,000 bytes becomes several records. Waits while the
        queue is full.

        Raises:
            LogStoreError: the disk refused, or the store is closed.
            ValueError: a record's source or process is not a name.
        """
        lines = [line for record in records for line in lines_of(record)]
        if lines:
            await self._submit(app_id, records=lines)

    async def tail(
        self,
        app_id: str,
        lines: int,
        *,
        follow: bool = False,
        process: str | None = None,
        source: str | None = None,
    ) -> AsyncGenerator[LogRecord, None]:
        """The records of `batches`, one at a time."""
        async with aclosing(self.batches(app_id, lines, Filter(process, source), follow=follow)) as batches:
            async for batch in batches:
                for record in batch:
                    yield record

    async def batches(
        self, app_id: str, lines: int, wanted: Filter, *, follow: bool = False
    ) -> AsyncGenerator[Sequence[LogRecord], None]:
        """The last `lines` wanted records, then new ones as they come when `follow`, as many as there are at once.

        A slow reader never holds up a writer: it reads from disk at its own pace, and is told how many
        lines were removed before it got there. A follower ends when the log is removed or the store is closed.

        Raises:
            LogStoreError: the disk refused, or the store is closed.
        """
        feed = await self._call(app_id, lambda feed: feed)
        count = max(0, min(lines, self._limits.tail_lines))
        records, cursor = await asyncio.to_thread(feed.log.last, count, wanted)
        if records:
            yield records
        if follow:
            async with aclosing(_follow(feed, cursor, wanted)) as following:
                async for batch in following:
                    yield batch

    async def remove(self, app_id: str) -> None:
        """Delete an app's log for good and end its followers; no log is fine, and later lines are dropped."""
        feed = await self._call(app_id, lambda feed: self._remove(app_id, feed))
        feed.wake()

    async def checkpoint(self, app_id: str, instance_id: str) -> datetime | None:
        """When the newest stored line of this instance was printed; None when there is none."""
        return await self._call(app_id, lambda feed: feed.log.checkpoints.at(instance_id))

    async def resume(self, app_id: str, instance_id: str) -> Resume:
        """Where a collector of this instance goes on."""
        return await self._call(app_id, lambda feed: feed.log.checkpoints.resume(instance_id))

    async def forget(self, app_id: str, instance_id: str) -> None:
        """Drop the checkpoint of an instance that is gone for good."""
        await self._call(app_id, lambda feed: feed.log.checkpoints.forget(instance_id))

    async def sweep(self) -> None:
        """Rotate and remove what is too old, also in logs that nothing is written to. Call it now and then."""
        names = await asyncio.to_thread(_app_ids, self._directory)
        for app_id in names:
            await self._call(app_id, lambda feed: feed.log.retire())

    async def close(self) -> None:
        """Write what is queued, end the followers, refuse what comes later."""
        if not self._closed:
            self._closed = True
            self._queue.put_nowait(None)
        if self._writer is not None:
            await self._writer
        for feed in self._feeds.values():
            feed.ended = True
            feed.wake()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _call(self, app_id: str, action: Callable[[_Feed], _Result]) -> _Result:
        result: _Result = await self._submit(app_id, action=action)
        return result

    async def _submit(
        self, app_id: str, records: Sequence[LogRecord] = (), action: Callable[[_Feed], object] | None = None
    ) -> Any:
        if _ID.fullmatch(app_id) is None:
            raise ValueError(f"not an app's id: {app_id!r}")
        async with self._turns:
            if self._closed:
                raise LogStoreError("the log store is closed")
            self._writer = self._writer or asyncio.create_task(self._write_queue(), name="log-writer")
            request = _Request(app_id, asyncio.get_running_loop().create_future(), records, action)
            self._queue.put_nowait(request)
            return await request.done

    async def _write_queue(self) -> None:
        open_ = True
        while open_:
            requests = [await self._queue.get()]
            while len(requests) < _BATCH and not self._queue.empty():
                requests.append(self._queue.get_nowait())
            batch = [request for request in requests if request is not None]
            open_ = len(batch) == len(requests)
            await asyncio.to_thread(self._perform, batch)
            for request in batch:
                request.settle()
                if feed := self._feeds.get(request.app_id):
                    feed.wake()

    def _perform(self, batch: Sequence[_Request]) -> None:
        """In the thread: each app's requests in their order, neighbouring appends as one write."""
        ordered = sorted(batch, key=lambda request: request.app_id)
        for (app_id, appends), group in groupby(ordered, lambda each: (each.app_id, each.action is None)):
            requests = list(group)
            for joined in [requests] if appends else [[request] for request in requests]:
                self._perform_joined(app_id, joined)

    def _perform_joined(self, app_id: str, requests: Sequence[_Request]) -> None:
        try:
            feed = self._feeds.get(app_id) or self._open(app_id)
            first = requests[0]
            if first.action is not None:
                first.result = first.action(feed)
            elif app_id not in self._removed:
                feed.log.append([record for request in requests for record in request.records])
        except OSError as error:
            _fail(requests, LogStoreError(f"the log cannot be opened: {error}"))
        except Exception as error:  # noqa: BLE001 - belongs to those who asked; the writer lives on
            _fail(requests, error)

    def _open(self, app_id: str) -> _Feed:
        feed = self._feeds[app_id] = _Feed(AppLog(self._directory / app_id, self._limits))
        return feed

    def _remove(self, app_id: str, feed: _Feed) -> _Feed:
        self._removed.add(app_id)
        feed.log.remove()
        feed.ended = True
        self._feeds = {app_id: other for app_id, other in self._feeds.items() if other is not feed}
        return feed


async def _follow(feed: _Feed, cursor: Cursor, wanted: Filter) -> AsyncGenerator[Sequence[LogRecord], None]:
    grown = asyncio.Event()
    feed.followers.add(grown)
    try:
        while not feed.ended:
            grown.clear()  # before reading, so that growth during it is not missed
            while cursor.position < feed.log.end and not feed.ended:
                records, cursor = await asyncio.to_thread(feed.log.read, cursor, wanted)
                if records:
                    yield records
            if not feed.ended:
                await grown.wait()
    finally:
        feed.followers.discard(grown)


def _fail(requests: Iterable[_Request], error: Exception) -> None:
    for request in requests:
        request.error = error


def _app_ids(directory: Path) -> list[str]:
    if not directory.is_dir():
        return []
    return [path.name for path in directory.iterdir() if path.is_dir() and _ID.fullmatch(path.name)]
