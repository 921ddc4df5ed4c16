"""Follows the output of every instance into the log store, as instances come and go."""

import asyncio
import random

import structlog

from cygni.logs import Collector, LogStore, LogStoreError
from deployer.ports import Engine, EngineError, Instance

PAUSE = 1.0
LONGEST_PAUSE = 30.0
LAST_LINES = 5.0
"""Seconds that the removal of an ended instance waits for its output."""

log = structlog.get_logger()


class LogCollection:
    """Tracks all instances now, then each as it starts; begins anew when the engine's events break off."""

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs
        self._parts: tuple[Engine, Collector] | None = None

    def follow(self, engine: Engine) -> None:
        """Collect from this engine, which in its turn calls `last_lines` before it removes an instance."""
        self._parts = engine, Collector(engine, self._logs)

    async def track(self, instance: Instance) -> None:
        """Follow an instance that the engine does not list: a one-off that nobody is joined to."""
        assert self._parts is not None, "follow an engine first"
        await self._parts[1].track(instance)

    async def last_lines(self, instance: Instance) -> None:
        """Have the log complete before an ended instance is removed; a disk that refuses holds nothing up."""
        if self._parts is None:
            return
        try:
            await self._parts[1].finish(instance, LAST_LINES)
        except (LogStoreError, EngineError) as error:
            log.warning("last lines are missing", app=instance.app, instance=instance.name, reason=str(error))

    async def run(self) -> None:
        """Collect until cancelled; what the engine still has is not lost while it was away."""
        assert self._parts is not None, "follow an engine first"
        engine, collector = self._parts
        failures = 0
        try:
            while True:
                try:
                    await self._follow_engine(engine, collector)
                    failures = 0
                except EngineError as error:
                    failures += 1
                    log.warning("log collection waits for the engine", reason=str(error))
                pause = min(LONGEST_PAUSE, PAUSE * 2 ** min(failures, 5))
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
        finally:
            await collector.stop()

    async def _follow_engine(self, engine: Engine, collector: Collector) -> None:
        events = engine.events()
        try:
            for instance in await engine.list():
                await collector.track(instance)
            async for event in events:
                if event.kind == "start":
                    await _track(engine, collector, event.instance_id)
                elif event.kind == "destroy":
                    await collector.forget(event.app_id, event.instance_id)
        finally:
            await events.aclose()


async def _track(engine: Engine, collector: Collector, instance_id: str) -> None:
    instance = await engine.inspect(instance_id)
    if instance is not None:
        await collector.track(instance)
