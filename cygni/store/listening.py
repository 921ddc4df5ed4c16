"""Carries announcements between control planes on one PostgreSQL database, by NOTIFY and LISTEN."""

import asyncio
import secrets
from contextlib import suppress
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool
from sqlmodel import Session

from cygni.store.notifier import Notifier

CHANNEL = "cygni"
RETRY_SECONDS = (0.2, 10.0)
_SEND = text("SELECT pg_notify(:channel, :payload)")


class Listener:
    """One connection that waits for what the other processes announce.

    While it is broken nothing is heard, so that waiters are all woken when it is back; those who wait look now
    and then anyway.
    """

    def __init__(self, engine: AsyncEngine, notifier: Notifier) -> None:
        self._engine = create_async_engine(engine.url, hide_parameters=True, poolclass=NullPool)
        self._notifier = notifier
        self._origin = secrets.token_hex(4)
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def start(self) -> None:
        """Listen, from when this returns; a database that does not answer is tried again meanwhile."""
        self._task = asyncio.create_task(self._run())
        waiting = asyncio.create_task(self._listening.wait())
        await asyncio.wait({waiting}, timeout=RETRY_SECONDS[1])
        waiting.cancel()

    async def close(self) -> None:
        """Stop listening."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._engine.dispose()

    def announce(self, session: Session, topic: str) -> None:
        """Let the others know once this transaction is committed."""
        session.execute(_SEND, {"channel": CHANNEL, "payload": f"{self._origin}:{topic}"})

    async def _run(self) -> None:
        delay = RETRY_SECONDS[0]
        while True:
            with suppress(Exception):  # whatever is wrong with the database, its users say so
                await self._listen()
            if self._listening.is_set():
                delay = RETRY_SECONDS[0]
            self._listening.clear()
            await asyncio.sleep(delay)
            delay = min(delay * 2, RETRY_SECONDS[1])

    async def _listen(self) -> None:
        """Until the connection ends."""
        ended = asyncio.Event()
        async with self._engine.connect() as connection:
            driver: Any = (await connection.get_raw_connection()).driver_connection
            driver.add_termination_listener(lambda _: ended.set())
            await driver.add_listener(CHANNEL, self._heard)
            self._listening.set()
            self._notifier.publish_all()
            await ended.wait()

    def _heard(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        origin, _, topic = payload.partition(":")
        if origin != self._origin:
            self._notifier.publish(topic)
