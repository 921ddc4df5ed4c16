"""Config, formation, the jobs they enqueue, and what is on the disk."""

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest
from postgres import ON_SQLITE

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, JobStatus, Lane, User
from cygni.store import DatabaseDamagedError, Store

SECRET = "hunter2-plaintext-marker"


async def test_changes_set_and_remove_and_the_rest_stays(store: Store, shop: App) -> None:
    await store.config.change(shop.id, {"A": "1", "B": "", "C": "ü\n"}, author="ann", job_kind=None)
    now, job = await store.config.change(
        shop.id, {"A": None, "B": "2", "D": None}, author="ann", job_kind=None
    )
    assert now == await store.config.get(shop.id) == {"B": "2", "C": "ü\n"}
    assert job is None


async def test_changing_an_unknown_app_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.config.change("nothing", {"A": "1"}, author="ann", job_kind="config")
    assert await store.config.get("nothing") == {}


async def test_changes_before_the_job_runs_share_it_and_later_ones_get_another(
    store: Store, shop: App
) -> None:
    _, first = await store.config.change(shop.id, {"A": "1"}, author="ann", job_kind="config")
    _, second = await store.config.change(shop.id, {"B": "1"}, author="bob", job_kind="config")
    assert first is not None
    assert second is not None
    assert first.id == second.id
    assert (second.payload, second.lane) == ({"changed": "A B"}, Lane.DEPLOY)
    assert await store.jobs.claim("me") == await store.jobs.get(first.id)
    _, third = await store.config.change(shop.id, {"C": "1"}, author="ann", job_kind="config")
    assert third is not None
    assert third.id != first.id


async def test_kinds_and_apps_do_not_share_a_job(store: Store, shop: App, ann: User) -> None:
    blog = await store.apps.create("blog", ann.id)
    jobs = [
        (await store.config.change(shop.id, {"A": "1"}, author="ann", job_kind="config"))[1],
        (await store.formation.change(shop.id, {"web": 1}, author="ann", job_kind="scale"))[1],
        (await store.config.change(blog.id, {"A": "1"}, author="ann", job_kind="config"))[1],
    ]
    assert len({job.id for job in jobs if job}) == 3


async def test_fifty_changes_at_once_are_all_there_with_one_job(store: Store, shop: App) -> None:
    results = await asyncio.gather(
        *(store.config.change(shop.id, {f"V{n}": str(n)}, author="ann", job_kind="config") for n in range(50))
    )
    assert await store.config.get(shop.id) == {f"V{n}": str(n) for n in range(50)}
    assert len({job.id for _, job in results if job}) == 1


async def test_a_formation_keeps_zero_and_refuses_less(store: Store, shop: App) -> None:
    now, job = await store.formation.change(shop.id, {"web": 0, "worker": 2}, author="ann", job_kind="scale")
    assert now == await store.formation.get(shop.id) == {"web": 0, "worker": 2}
    assert job is not None
    with pytest.raises(ConflictError):
        await store.formation.change(shop.id, {"web": 5, "worker": -1}, author="ann", job_kind="scale")
    assert await store.formation.get(shop.id) == {"web": 0, "worker": 2}


@ON_SQLITE
async def test_no_config_value_is_in_any_file_of_the_database(
    store: Store, shop: App, make_release: Any, tmp_path: Path
) -> None:
    await store.config.change(shop.id, {"TOKEN": SECRET}, author="ann", job_kind="config")
    await make_release()
    await make_release(config={"TOKEN": SECRET})
    await store.config.change(shop.id, {"TOKEN": SECRET + "2"}, author="ann", job_kind="config")
    while_open = _files(tmp_path)
    assert any(name.endswith("-wal") for name in while_open)
    await store.close()
    for content in (*while_open.values(), *_files(tmp_path).values()):
        assert SECRET.encode() not in content
        assert json.dumps(SECRET)[1:-1].encode() not in content
    assert any(b"TOKEN" in content for content in while_open.values()), "the search finds what is there"


@ON_SQLITE
async def test_files_of_the_database_are_for_their_owner_only(
    store: Store, shop: App, tmp_path: Path
) -> None:
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert {"cygni.db", "cygni.db-wal", "secret.key"} <= set(modes)
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize(
    "sql",
    [
        "UPDATE config SET value = (SELECT value FROM config WHERE name = 'A') WHERE name = 'B'",
        "UPDATE config SET value = CAST(substr(value, 1, length(value) - 1) || x'00' AS BLOB) WHERE name = 'B'",
        "UPDATE config SET value = x'' WHERE name = 'B'",
        "UPDATE config SET value = CAST(substr(value, 1, 9) AS BLOB) WHERE name = 'B'",
    ],
    ids=["moved", "changed", "emptied", "cut"],
)
async def test_a_value_that_was_changed_or_moved_in_the_database_is_noticed(
    store: Store, shop: App, sql: str, database: str
) -> None:
    if database == "postgresql":  # the same, as it writes bytes
        sql = re.sub(r"CAST\((.*) AS BLOB\)", r"\1", re.sub(r"x'(\w*)'", r"'\\x\1'::bytea", sql))
    await store.config.change(shop.id, {"A": SECRET, "B": "2"}, author="ann", job_kind=None)
    async with store.database.engine.begin() as connection:
        await connection.exec_driver_sql(sql)
    with pytest.raises(DatabaseDamagedError) as raised:
        await store.config.get(shop.id)
    assert SECRET not in str(raised.value)


async def test_a_waiting_job_that_was_cancelled_is_not_shared(store: Store, shop: App) -> None:
    _, first = await store.config.change(shop.id, {"A": "1"}, author="ann", job_kind="config")
    assert first is not None
    assert await store.jobs.cancel_waiting(first.id)
    _, second = await store.config.change(shop.id, {"A": "2"}, author="ann", job_kind="config")
    assert second is not None
    assert (second.id != first.id, second.status) == (True, JobStatus.QUEUED)


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.startswith("cygni.db")}
