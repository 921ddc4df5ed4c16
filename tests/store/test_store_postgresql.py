"""What several control planes on one PostgreSQL database see of each other, and what becomes of them without it."""

import asyncio
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import PostgreSQL, running_postgres

from cygni.domain.models import App, JobStatus, Lane, User
from cygni.store import QUEUE, DatabaseBusyError, DatabaseUnreachableError, Store, StoreError, sole
from cygni.store import engine as engine_module
from cygni.store.database import Database
from cygni.store.dumps import is_empty
from cygni.store.engine import create_engine
from cygni.store.migrate import LOCK_KEY, migrate
from cygni.store.notifier import Notifier
from cygni.store.server import unlock

WAIT = 20

ENQUEUE = """
import asyncio, sys
from pathlib import Path
from cygni.domain.models import Lane
from cygni.store import Store

async def main(url, key_file, app_id):
    store = await Store.open(url, Path(key_file))
    print((await store.jobs.enqueue(app_id, Lane.DEPLOY, "restart", {}, "ann")).id)
    await store.close()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def database() -> str:
    return "postgresql"


@pytest.fixture
def own_postgres(postgres: PostgreSQL) -> Iterator[PostgreSQL]:
    """A server that the test may stop; where none is installed, `postgres` has said so."""
    del postgres
    with running_postgres() as server:
        yield server


async def test_another_process_wakes_who_waits_for_work(
    store: Store, url: str, key_file: Path, shop: App
) -> None:
    with store.jobs.notifier.subscribe(QUEUE) as queued:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", ENQUEUE, url, str(key_file), shop.id, stdout=asyncio.subprocess.PIPE
        )
        await asyncio.wait_for(queued.wait(), WAIT)
        job = await store.jobs.claim("me")
        out, _ = await process.communicate()
    assert job is not None
    assert job.id == out.decode().strip()


async def test_who_waits_for_a_job_learns_its_end_from_the_one_who_ran_it(
    store: Store, url: str, key_file: Path, shop: App
) -> None:
    other = await Store.open(url, key_file)
    try:
        job = await store.jobs.enqueue(shop.id, Lane.DEPLOY, "restart", {}, "ann")
        with store.jobs.notifier.subscribe(job.id) as ended:
            await other.jobs.claim("other")
            assert not ended.is_set()
            await other.jobs.finish(job.id, JobStatus.DONE, None)
            await asyncio.wait_for(ended.wait(), WAIT)
    finally:
        await other.close()


async def test_what_was_rolled_back_is_heard_by_nobody(
    store: Store, url: str, key_file: Path, shop: App
) -> None:
    other = await Store.open(url, key_file)
    try:
        with other.jobs.notifier.subscribe(QUEUE) as queued:
            with pytest.raises(StoreError):
                async with asyncio.timeout(WAIT):
                    await store.database.write(_announce_and_fail, shop.id)
            assert not queued.is_set()
            await store.jobs.enqueue(shop.id, Lane.DEPLOY, "restart", {}, "ann")
            await asyncio.wait_for(queued.wait(), WAIT)
    finally:
        await other.close()


def _announce_and_fail(session: object, app_id: str) -> None:
    from cygni.store.database import announce

    announce(session, QUEUE)  # type: ignore[arg-type]
    raise StoreError(app_id)


async def test_many_workers_share_the_queue_and_each_job_runs_once(
    store: Store, url: str, key_file: Path, ann: User
) -> None:
    apps = [await store.apps.create(f"app{n}", ann.id) for n in range(10)]
    jobs = [await store.jobs.enqueue(app.id, lane, "restart", {}, "ann") for app in apps for lane in Lane]
    others = [await Store.open(url, key_file) for _ in range(3)]
    try:
        owners = {str(n): which for n, which in enumerate([store, *others])}
        claims = [which.jobs.claim(owner) for owner, which in owners.items() for _ in range(len(jobs))]
        held = [job.id for job in await asyncio.gather(*claims) if job]
    finally:
        for other in others:
            await other.close()
    assert len(held) == len(set(held))
    assert set(held) == {job.id for job in jobs}


async def test_a_lock_that_others_hold_is_a_transient_error_and_readers_go_on(
    store: Store, url: str, key_file: Path, shop: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "BUSY_SECONDS", 0.3)
    hasty = await Store.open(url, key_file)
    try:
        async with store.database.engine.begin() as holder:
            await holder.exec_driver_sql("SELECT * FROM apps FOR UPDATE")
            with pytest.raises(DatabaseBusyError):
                await hasty.apps.set_deploy_branch(shop.id, "trunk")
            assert await hasty.apps.by_id(shop.id) == shop
        await hasty.apps.set_deploy_branch(shop.id, "trunk")
    finally:
        await hasty.close()


async def test_a_waiting_writer_gets_its_turn_when_another_process_lets_go(store: Store, shop: App) -> None:
    async with store.database.engine.begin() as holder:
        await holder.exec_driver_sql("SELECT * FROM apps FOR UPDATE")
        writing = asyncio.create_task(store.apps.set_deploy_branch(shop.id, "trunk"))
        done, _ = await asyncio.wait({writing}, timeout=0.2)
        assert not done
    await asyncio.wait_for(writing, WAIT)


async def test_after_a_crash_of_the_database_server_all_goes_on_and_is_heard_again(
    own_postgres: PostgreSQL, key_file: Path
) -> None:
    key_file.unlink(missing_ok=True)
    url = own_postgres.url(own_postgres.create())
    store, other = await Store.open(url, key_file), await Store.open(url, key_file)
    try:
        app = await store.apps.create("shop", (await store.users.ensure("ann")).id)
        own_postgres.stop(signal.SIGQUIT)
        with pytest.raises(DatabaseUnreachableError):
            await store.apps.set_deploy_branch(app.id, "trunk")
        own_postgres.start()
        with other.jobs.notifier.subscribe(QUEUE) as queued:
            await asyncio.wait_for(queued.wait(), WAIT)  # woken, for something may have been missed
            queued.clear()
            await store.jobs.enqueue(app.id, Lane.DEPLOY, "restart", {}, "ann")
            await asyncio.wait_for(queued.wait(), WAIT)
        assert await store.apps.by_name("shop") == app
    finally:
        await store.close()
        await other.close()


async def test_migrations_wait_for_those_of_another_process(empty_url: str, key_file: Path) -> None:
    engine = create_engine(empty_url)
    try:
        async with engine.begin() as other:
            await other.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
            opening = asyncio.create_task(Store.open(empty_url, key_file))
            done, _ = await asyncio.wait({opening}, timeout=1)
            assert not done
            assert await is_empty(empty_url)
        store = await asyncio.wait_for(opening, WAIT)
        await store.close()
    finally:
        await engine.dispose()


async def test_of_many_that_make_the_servers_row_at_once_all_get_the_same(
    empty_url: str, key_file: Path
) -> None:
    engine = create_engine(empty_url)
    databases = [Database(create_engine(empty_url), Notifier()) for _ in range(8)]
    try:
        await migrate(engine)
        await asyncio.gather(*(database.read(lambda session: None) for database in databases))  # connected
        rings = await asyncio.gather(*(unlock(database, key_file) for database in databases))
    finally:
        for database in databases:
            await database.close()
        await engine.dispose()
    assert {ring.open(rings[0].seal("a", "c"), "c") for ring in rings} == {"a"}


async def test_a_second_server_on_the_same_database_is_refused_until_the_first_has_ended(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sole, "WAIT_SECONDS", 0.5)
    async with sole.sole_server(url):
        with pytest.raises(StoreError, match="One control plane at a time"):
            async with sole.sole_server(url):
                pass
    async with sole.sole_server(url):
        pass


@pytest.mark.parametrize("part", ["name", "server"])
async def test_a_database_that_is_not_there_is_a_typed_error(
    postgres: PostgreSQL, key_file: Path, tmp_path: Path, part: str
) -> None:
    url = postgres.url("nowhere") if part == "name" else f"postgresql://x@/x?host={tmp_path}"
    key_file.unlink(missing_ok=True)
    with pytest.raises(StoreError if part == "name" else DatabaseUnreachableError):
        await Store.open(url, key_file)
    assert not key_file.exists()
