import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from cygni.domain.models import App, Lane
from cygni.jobs import JobKind, Retry, Timing, Worker
from cygni.store import Store

QUICK = Timing(heartbeat=0.05, dead_after=0.5, poll=0.5, cancel=0.3)
RETRY = Retry(tries=3, first=0.01, longest=0.02)

StartWorker = Callable[..., Awaitable[Worker]]


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[EventDict]]:
    """What the worker logs; structlog's default rendering of tracebacks takes seconds."""
    with capture_logs() as lines:
        yield lines


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new database and its key file: copying it is quicker than migrating for each test."""
    folder = tmp_path_factory.mktemp("migrated")

    async def make() -> None:
        store = await Store.open(f"sqlite:///{folder / 'cygni.db'}", folder / "secret.key")
        await store.close()

    asyncio.run(make())
    return folder


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite+aiosqlite:///{tmp_path / 'cygni.db'}"


@pytest.fixture
async def store(url: str, tmp_path: Path, migrated: Path) -> AsyncIterator[Store]:
    copytree(migrated, tmp_path, dirs_exist_ok=True)
    store = await Store.open(url, tmp_path / "secret.key")
    yield store
    await store.close()


@pytest.fixture
async def apps(store: Store) -> list[App]:
    ann = await store.users.ensure("ann")
    return [await store.apps.create(f"app{n}", ann.id) for n in range(4)]


@pytest.fixture
def shop(apps: list[App]) -> App:
    return apps[0]


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[Worker]:
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        await worker.stop(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def start(store: Store) -> AsyncIterator[StartWorker]:
    """Starts a worker that is stopped at the end of the test."""
    async with AsyncExitStack() as stack:

        async def start_one(
            kinds: Mapping[str, JobKind], slots: int = 4, on: Store = store, **options: Any
        ) -> Worker:
            lanes = {Lane.BUILD: slots, Lane.DEPLOY: slots}
            clocks: dict[str, Any] = {"timing": QUICK, "retry": RETRY}
            worker = Worker(on, kinds, "me", lanes, **(clocks | options))
            return await stack.enter_async_context(running(worker))

        yield start_one
