from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cygni.logs.records import LogRecord
from cygni.logs.store import LogStore

START = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)

type_of_record = Callable[..., LogRecord]


@pytest.fixture
def record() -> type_of_record:
    def make(
        text: str, seconds: float = 0, process: str = "web.1", instance: str = "", source: str = "app"
    ) -> LogRecord:
        return LogRecord(START + timedelta(seconds=seconds), source, process, text, instance)

    return make


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[LogStore]:
    async with LogStore(tmp_path / "logs") as opened:
        yield opened
