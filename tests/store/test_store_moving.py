"""From SQLite to PostgreSQL: every row arrives and means the same, or nothing is changed."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from postgres import PostgreSQL

from cygni.domain.errors import ConflictError
from cygni.domain.models import App, JobStatus, Lane, User
from cygni.store import Store, StoreError
from cygni.store.moving import move


@pytest.fixture
def database() -> str:
    return "sqlite"


@pytest.fixture
def target(postgres: PostgreSQL) -> Iterator[str]:
    name = postgres.create()
    yield postgres.url(name)
    postgres.drop(name)


async def fill(store: Store, shop: App, make_release: Any, make_build: Any) -> None:
    await store.config.change(shop.id, {"TOKEN": "s3cr3t", "EMPTY": ""}, author="ann", job_kind="config")
    await store.formation.change(shop.id, {"web": 3}, author="ann", job_kind=None)
    await make_release(live=True)
    await make_release()
    await make_build()
    for number in range(1200):
        await store.events.record("ann", "x", shop.id, str(number))
    await store.jobs.enqueue(shop.id, Lane.DEPLOY, "restart", {}, "ann")
    while job := await store.jobs.claim("me", [Lane.DEPLOY]):
        await store.jobs.finish(job.id, JobStatus.DONE, None)
    await store.jobs.prune(0)


async def test_everything_is_there_and_goes_on(
    store: Store,
    shop: App,
    ann: User,
    make_release: Any,
    make_build: Any,
    tmp_path: Path,
    target: str,
    key_file: Path,
) -> None:
    await fill(store, shop, make_release, make_build)
    before = await facts(store, shop, ann)
    await store.close()
    counts = await move(tmp_path / "cygni.db", target)
    assert (counts["apps"], counts["events"], counts["releases"]) == (1, 1200, 2)
    moved = await Store.open(target, key_file)
    try:
        assert await facts(moved, shop, ann) == before
        newest = max(event.seq for event in await moved.events.list(None, 1))
        assert await moved.events.record("ann", "y", None, "") > newest
        again = await moved.jobs.enqueue(shop.id, Lane.DEPLOY, "restart", {}, "ann")
        assert (await moved.jobs.claim("me", [Lane.DEPLOY])) is not None
        assert again.status is JobStatus.QUEUED
        with pytest.raises(ConflictError):
            await moved.apps.create("shop", ann.id)
    finally:
        await moved.close()
    assert [path.name for path in sorted(tmp_path.glob("cygni.db*"))] == ["cygni.db.moved"]


async def facts(store: Store, shop: App, ann: User) -> list[object]:
    return [
        await store.server.identity(),
        await store.apps.all(),
        await store.users.list(),
        await store.access.role(ann, shop.id),
        await store.config.get(shop.id),
        await store.formation.asked(shop.id),
        await store.releases.list(shop.id, 100),
        await store.builds.list(shop.id, 100),
        await store.events.list(None, 2000),
    ]


async def test_a_database_with_something_in_it_is_refused(
    store: Store, tmp_path: Path, postgres: PostgreSQL, target: str
) -> None:
    postgres.query(target.split("@/")[1].split("?", maxsplit=1)[0], "CREATE TABLE precious (x int)")
    with pytest.raises(StoreError, match="not empty"):
        await move(tmp_path / "cygni.db", target)
    assert (tmp_path / "cygni.db").exists()


async def test_a_row_that_does_not_fit_leaves_both_as_they_were(
    store: Store, shop: App, tmp_path: Path, target: str, key_file: Path
) -> None:
    await store.close()
    with sqlite3.connect(tmp_path / "cygni.db") as connection:  # what only a hand can have written
        connection.execute("INSERT INTO config (app_id, name, value) VALUES ('nobody', 'A', x'00')")
    connection.close()
    with pytest.raises(ConflictError):
        await move(tmp_path / "cygni.db", target)
    assert (tmp_path / "cygni.db").exists()
    opened = await Store.open(target, tmp_path / "another.key")
    assert await opened.apps.all() == []
    await opened.close()


@pytest.mark.parametrize("bad", ["sqlite:///elsewhere.db", "mysql://x/y"])
async def test_the_target_must_be_postgresql(store: Store, tmp_path: Path, bad: str) -> None:
    with pytest.raises(StoreError, match="postgresql://"):
        await move(tmp_path / "cygni.db", bad)
