"""Brings the output of running instances into the log store; two small tasks an instance, no thread."""

import asyncio
import random
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime
from typing import Protocol

import structlog

from cygni.logs.format import lines_of
from cygni.logs.records import LogRecord, LogStoreError
from cygni.logs.store import LogStore
from deployer.ports import EngineError, Instance, LogLine

QUEUED_LINES = 1000
"""Lines of one instance held in memory; then the engine's stream is read no further."""
BATCH_LINES = 500
FIRST_PAUSE = 0.2
LONGEST_PAUSE = 30.0
ATTEMPTS = 12
"""Failures in a row, with pauses of about two minutes in all; a new `track` begins afresh."""


class LogSource(Protocol):
    """The part of an engine that the collector needs."""

    def logs(self, instance: Instance, since: datetime | None, *, follow: bool) -> AsyncIterator[LogLine]:
        """Lines after `since` (all for None), then as they come when `follow`; ends with the instance."""
        ...


class Collector:
    """Follows instances from where the store has them until they end."""

    def __init__(self, engine: LogSource, store: LogStore) -> None:
        self._engine = engine
        self._store = store
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._log = structlog.get_logger()

    async def track(self, instance: Instance) -> None:
        """Follow this instance, unless it is followed already. Call again when it was restarted."""
        task = self._tasks.get(instance.id)
        if task is None or task.done():
            name = f"logs {instance.app} {instance.name}"
            self._tasks[instance.id] = asyncio.create_task(self._follow(instance), name=name)

    async def finish(self, instance: Instance, timeout: float) -> None:
        """Wait until all that an ended instance printed is stored, at most `timeout` seconds.

        Call it before the engine removes the instance, so that its last lines are not lost, also where it ended
        before anybody began to follow it. Calling it again stores nothing twice.
        """
        await self.track(instance)
        task = self._tasks[instance.id]
        await asyncio.wait([task], timeout=timeout)
        await _cancel([task])

    async def forget(self, app_id: str, instance_id: str) -> None:
        """The engine has removed this instance: it will not print again."""
        await self._store.forget(app_id, instance_id)

    async def stop(self) -> None:
        """End all following; what was not stored yet is fetched again by the next start."""
        tasks, self._tasks = list(self._tasks.values()), {}
        await _cancel(tasks)

    async def _follow(self, instance: Instance) -> None:
        try:
            await self._follow_patiently(instance)
        except Exception:
            self._log.exception("logs_failed", app=instance.app, instance=instance.name)
            raise
        finally:
            if self._tasks.get(instance.id) is asyncio.current_task():
                del self._tasks[instance.id]

    async def _follow_patiently(self, instance: Instance) -> None:
        failures = 0
        while True:
            before = await self._position(instance)
            try:
                await self._copy(instance)
                return
            except* (EngineError, LogStoreError) as errors:
                progress = await self._position(instance) != before
                failures = 1 if progress else failures + 1
                causes = [str(error) for error in errors.exceptions]
                self._log.warning("logs_interrupted", app=instance.app, instance=instance.name, causes=causes)
            if failures >= ATTEMPTS:
                self._log.error("logs_given_up", app=instance.app, instance=instance.name)
                return
            await asyncio.sleep(_pause(failures))

    async def _position(self, instance: Instance) -> datetime | None:
        with suppress(LogStoreError):
            return await self._store.checkpoint(instance.app_id, instance.id)
        return None

    async def _copy(self, instance: Instance) -> None:
        queue: asyncio.Queue[LogRecord | None] = asyncio.Queue(QUEUED_LINES)
        async with asyncio.TaskGroup() as group:
            storing = group.create_task(self._store_batches(instance.app_id, queue))
            try:
                async with aclosing(self._new_records(instance)) as records:
                    async for record in records:
                        await queue.put(record)
            except EngineError:
                await queue.put(None)
                await storing  # what came before the break is stored, so that nothing is fetched twice
                raise
            await queue.put(None)

    async def _new_records(self, instance: Instance) -> AsyncGenerator[LogRecord, None]:
        resume = await self._store.resume(instance.app_id, instance.id)
        lines = self._engine.logs(instance, resume.since, follow=True)
        try:
            async for line in lines:
                for record in lines_of(_record(instance, line)):
                    if not resume.is_stored(record):
                        yield record
        finally:
            if isinstance(lines, AsyncGenerator):
                await lines.aclose()

    async def _store_batches(self, app_id: str, queue: asyncio.Queue[LogRecord | None]) -> None:
        open_ = True
        while open_:
            items = [await queue.get()]
            while len(items) < BATCH_LINES and not queue.empty():
                items.append(queue.get_nowait())
            records = [item for item in items if item is not None]
            open_ = len(records) == len(items)
            await self._store.append(app_id, records)


def _record(instance: Instance, line: LogLine) -> LogRecord:
    at = line.at.astimezone(UTC)
    return LogRecord(at=at, source="app", process=instance.name, text=line.text, instance=instance.id)


def _pause(failures: int) -> float:
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**failures)
    return random.uniform(longest / 2, longest)  # noqa: S311 - spreads retries, guards nothing


async def _cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
