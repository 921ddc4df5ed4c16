"""Housekeeping, with a real store and a real log store."""

import asyncio
import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cygni.housekeeping import Housekeeping
from cygni.logs import BuildLogs, LogLimits, LogRecord, LogStore
from cygni.slots import PushSlots
from cygni.store import Store


async def test_the_log_of_an_idle_app_ages_out(tmp_path: Path) -> None:
    """Nothing is written to it any more, so only housekeeping can notice its age."""
    limits = LogLimits(segment_age=timedelta(0), total_age=timedelta(0))
    store = await Store.open(f"sqlite+aiosqlite:///{tmp_path / 'cygni.db'}", tmp_path / "secret.key")
    nothing: Any = None
    async with LogStore(tmp_path / "logs", limits) as logs:
        await logs.append("idle", [LogRecord(datetime.now(UTC), "app", "web.1", "long ago")])
        running = asyncio.create_task(
            Housekeeping(store, nothing, PushSlots(), nothing, logs, BuildLogs(tmp_path / "builds")).run()
        )
        async with asyncio.timeout(10):
            while [record async for record in logs.tail("idle", 10)]:
                await asyncio.sleep(0.01)
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running
    await store.close()
    held = [path for path in (tmp_path / "logs" / "idle").glob("*.log") if path.stat().st_size]
    assert held == []


async def test_outputs_of_builds_and_releases_age_out(tmp_path: Path) -> None:
    outputs = BuildLogs(tmp_path / "builds")
    for name in ("old", "new", "open"):
        await outputs.writer(name).line("said")
    for name in ("old", "new"):
        await outputs.writer(name).close()
    for path in (tmp_path / "builds").iterdir():
        if not path.name.startswith("new"):
            os.utime(path, (0, 0))
    assert outputs.prune(86400) == 1
    assert [await outputs.read(name) for name in ("old", "new", "open")] == ["", "said\n", "said\n"]
    await outputs.close()
