"""What stays true when the process is killed, the disk is full, callers are cancelled, others hold the database."""

import asyncio
import json
import random
import sqlite3
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from postgres import ON_SQLITE
from sqlalchemy import event

from cygni.domain.models import App, ReleaseStatus, User
from cygni.store import DatabaseBusyError, DatabaseDamagedError, DiskFullError, Store, StoreError

WRITER = """
import asyncio, json, sys
from pathlib import Path
from cygni.store import Store

def acknowledge(*what):
    sys.stdout.write(json.dumps(what) + "\\n")
    sys.stdout.flush()

async def release(store, app):
    while True:
        made = await store.releases.create(app.id, image="i", commit="c", processes=(), release_command=None,
                                           author="a", reason="r")
        acknowledge("release", made.version)
        await store.releases.set_live(made.id)
        acknowledge("live", made.version)

async def build(store, app):
    while True:
        made, job = await store.builds.enqueue(app.id, commit="c", ref="r", message="m", author="a",
                                               quarantine=None, payload={})
        acknowledge("build", made.number)

async def config(store, app, life):
    number = 0
    while True:
        number += 1
        await store.config.change(app.id, {f"A_{life}_{number}": "1", f"B_{life}_{number}": "2"}, author="a",
                                  job_kind="config")
        acknowledge("config", f"{life}_{number}")

async def main(url, key_file, life):
    store = await Store.open(url, Path(key_file))
    ann = await store.users.ensure("ann")
    app = await store.apps.by_name("shop") or await store.apps.create("shop", ann.id)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(release(store, app))
        tasks.create_task(build(store, app))
        tasks.create_task(config(store, app, life))

asyncio.run(main(*sys.argv[1:]))
"""


async def _write_until_killed(url: str, key_file: Path, life: int, acknowledgements: int) -> list[list[Any]]:
    """Run a writer, kill it with SIGKILL while it writes; returns what it had acknowledged."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", WRITER, url, str(key_file), str(life), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        lines = [await process.stdout.readline() for _ in range(acknowledgements)]
        await asyncio.sleep(random.uniform(0, 0.02))
        process.kill()
        lines += (await process.stdout.read()).splitlines(keepends=True)
        await process.wait()
    return [json.loads(line) for line in lines if line.endswith(b"\n")]


@pytest.mark.kill
async def test_after_kill_9_what_was_acknowledged_is_there_and_nothing_is_half(
    url: str, key_file: Path, tmp_path: Path, database: str
) -> None:
    acknowledged: list[list[Any]] = []
    for life in range(5):
        acknowledged += await _write_until_killed(url, key_file, life, random.randint(1, 60))
        store = await Store.open(url, key_file)
        try:
            await _check(store, acknowledged)
        finally:
            await store.close()
    if database == "postgresql":
        return
    with sqlite3.connect(tmp_path / "cygni.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    connection.close()


async def _check(store: Store, acknowledged: list[list[Any]]) -> None:
    app = await store.apps.by_name("shop")
    assert app is not None
    said = {kind: [value for what, value in acknowledged if what == kind] for kind, _ in acknowledged}

    releases = await store.releases.list(app.id, 10_000)
    assert [release.version for release in releases] == list(range(len(releases), 0, -1))
    assert max(said.get("release", [0])) <= len(releases)
    live = [release.version for release in releases if release.status is ReleaseStatus.LIVE]
    assert len(live) == (1 if live or said.get("live") else 0)
    assert max(said.get("live", [0])) <= max(live, default=0)

    builds = await store.builds.list(app.id, 10_000)
    assert [build.number for build in builds] == list(range(len(builds), 0, -1))
    assert max(said.get("build", [0])) <= len(builds)
    for build in builds:
        job = await store.jobs.get(build.job_id or "")
        assert job is not None
        assert job.payload["build_id"] == build.id
        assert job.status.final == build.status.final

    config = await store.config.get(app.id)
    halves = ({name[2:] for name in config if name.startswith(prefix)} for prefix in ("A_", "B_"))
    first, second = halves
    assert first == second >= set(said.get("config", []))


def _limit_every_connection(store: Store, pragma: str) -> None:
    def limit(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    event.listen(store.database.engine.sync_engine, "connect", limit)


@ON_SQLITE
async def test_a_full_disk_is_a_typed_error_that_changes_nothing_and_passes(
    url: str, key_file: Path, store: Store, shop: App
) -> None:
    await store.config.change(shop.id, {"A": "1"}, author="ann", job_kind=None)
    full = await Store.open(url, key_file)
    await full.close()
    _limit_every_connection(full, "max_page_count=1")  # SQLite raises that to the size it has
    try:
        with pytest.raises(DiskFullError, match="disk is full") as raised:
            await full.config.change(
                shop.id, {"A": "2", "BIG": "x" * 1_000_000}, author="ann", job_kind="config"
            )
        assert "xxx" not in str(raised.value)
        assert await full.config.get(shop.id) == {"A": "1"}
        assert await full.jobs.claim("me") is None
        assert full.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]
    finally:
        await full.close()
    await store.config.change(shop.id, {"A": "2", "BIG": "x" * 1_000_000}, author="ann", job_kind="config")
    assert len(await store.config.get(shop.id)) == 2


@ON_SQLITE
async def test_a_database_that_others_hold_is_a_transient_error_and_readers_go_on(
    url: str, key_file: Path, store: Store, shop: App, tmp_path: Path
) -> None:
    hasty = await Store.open(url, key_file)
    await hasty.close()
    _limit_every_connection(hasty, "busy_timeout=50")
    holder = sqlite3.connect(tmp_path / "cygni.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(DatabaseBusyError):
            await hasty.apps.set_deploy_branch(shop.id, "trunk")
        assert await hasty.apps.by_id(shop.id) == shop
        holder.execute("ROLLBACK")
        await hasty.apps.set_deploy_branch(shop.id, "trunk")
    finally:
        holder.close()
        await hasty.close()


@ON_SQLITE
async def test_a_waiting_writer_gets_its_turn_when_another_process_lets_go(
    store: Store, shop: App, tmp_path: Path
) -> None:
    holder = sqlite3.connect(tmp_path / "cygni.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    writing = asyncio.create_task(store.apps.set_deploy_branch(shop.id, "trunk"))
    done, _ = await asyncio.wait({writing}, timeout=0.1)
    assert not done
    holder.execute("COMMIT")
    holder.close()
    await asyncio.wait_for(writing, 5)


async def test_callers_cancelled_at_any_moment_leave_whole_transactions_and_a_working_store(
    store: Store, shop: App, make_release: Any
) -> None:
    async def impatient() -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(random.uniform(0, 0.05)):
                await make_release()
                await store.config.get(shop.id)

    for _ in range(5):
        await asyncio.gather(*(impatient() for _ in range(30)))
    last = await make_release()
    versions = [release.version for release in await store.releases.list(shop.id, 1000)]
    assert versions == list(range(last.version, 0, -1))
    assert store.database.engine.pool.checkedout() == 0  # type: ignore[attr-defined]


async def test_a_cancelled_caller_waits_for_its_commit_so_that_the_next_one_sees_it(
    store: Store, shop: App
) -> None:
    changing = asyncio.create_task(store.apps.set_deploy_branch(shop.id, "trunk"))
    for _ in range(3):
        await asyncio.sleep(0)
    changing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await changing
    app = await store.apps.by_id(shop.id)
    assert app is not None
    assert app.deploy_branch == "trunk"


@ON_SQLITE
async def test_a_file_that_is_no_database_is_a_typed_error(url: str, key_file: Path, tmp_path: Path) -> None:
    (tmp_path / "cygni.db").write_bytes(b"This is no database. " * 1000)
    with pytest.raises(DatabaseDamagedError):
        await Store.open(url, key_file)


@ON_SQLITE
async def test_a_read_only_database_is_a_typed_error(store: Store, shop: App) -> None:
    await store.close()
    _limit_every_connection(store, "query_only=ON")
    with pytest.raises(StoreError) as raised:
        await store.config.change(shop.id, {"A": "hunter2"}, author="ann", job_kind=None)
    assert "hunter2" not in str(raised.value) + str(raised.value.__cause__)


async def test_a_hundred_writers_and_readers_at_once_are_all_served(
    store: Store, shop: App, ann: User
) -> None:
    async with asyncio.timeout(20):
        await asyncio.gather(
            *(store.events.record("ann", "x", shop.id, str(n)) for n in range(100)),
            *(store.apps.visible_to(ann) for _ in range(100)),
        )
    assert len(await store.events.list(shop.id, 1000)) == 100
