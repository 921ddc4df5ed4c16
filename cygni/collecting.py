"""Follows the output of every instance into the log store, as instances come and go."""

import asyncio
import random

import structlog

from cygni.logs import Collector, LogStore
from deployer.ports import Engine, EngineError

PAUSE = 1.0
LONGEST_PAUSE = 30.0

log = structlog.get_logger()


class LogCollection:
    """Tracks all instances now, then each as it starts; begins anew when the engine's events break off."""

    def __init__(self, engine: Engine, logs: LogStore) -> None:
        self._engine = engine
        self._collector = Collector(engine, logs)

    async def run(self) -> None:
        """Collect until cancelled; what the engine still has is not lost while it was away."""
        failures = 0
        try:
            while True:
                try:
                    await self._follow_engine()
                    failures = 0
                except EngineError as error:
                    failures += 1
                    log.warning("log collection waits for the engine", reason=str(error))
                pause = min(LONGEST_PAUSE, PAUSE * 2 ** min(failures, 5))
                await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret
        finally:
            await self._collector.stop()

    async def _follow_engine(self) -> None:
        events = self._engine.events()
        try:
            for instance in await self._engine.list():
                await self._collector.track(instance)
            async for event in events:
                if event.kind == "start":
                    await self._track(event.instance_id)
        finally:
            await events.aclose()

    async def _track(self, instance_id: str) -> None:
        instance = await self._engine.inspect(instance_id)
        if instance is not None:
            await self._collector.track(instance)
