"""What operating apps adds: an unalterable audit trail, last owners and admins, stopped types, limits."""

import sqlite3
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, exc, text

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, ProcessLimits, Quantity, Role, User
from cygni.store import Store
from cygni.store.migrate import MIGRATIONS


async def test_a_line_of_the_audit_trail_takes_its_result_once(store: Store, shop: App) -> None:
    seq = await store.events.record("ann", "rollback", shop.id, "v3", address="192.0.2.7", result=None)
    await store.events.finish(seq, "done")
    await store.events.finish(seq, "failed")
    (event,) = await store.events.list(shop.id, 10)
    assert (event.who, event.app, event.address, event.result) == ("ann", "shop", "192.0.2.7", "done")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE events SET who = 'eve'",
        "UPDATE events SET detail = ''",
        "UPDATE events SET result = 'refused'",
        "DELETE FROM events",
    ],
)
async def test_the_database_refuses_to_alter_the_audit_trail(store: Store, shop: App, statement: str) -> None:
    await store.events.record("ann", "config:set", shop.id, "A")
    with pytest.raises(exc.DBAPIError, match="audit trail"):
        async with store.database.engine.begin() as connection:
            await connection.exec_driver_sql(statement)
    assert [event.who for event in await store.events.list(None, 10)] == ["ann"]


async def test_the_audit_trail_outlives_its_app(store: Store, shop: App) -> None:
    await store.events.record("ann", "apps:destroy", shop.id, "shop")
    await store.apps.delete(shop.id)
    assert [event.app for event in await store.events.list(shop.id, 10, who="ann")] == ["shop"]
    assert await store.events.list(None, 10, who="bob") == []


async def test_the_only_owner_stays_until_there_is_another(store: Store, shop: App, ann: User) -> None:
    bob = await store.users.ensure("bob")
    with pytest.raises(ConflictError, match="owner"):
        await store.access.revoke(ann.id, shop.id)
    with pytest.raises(ConflictError, match="owner"):
        await store.access.grant(ann.id, shop.id, Role.ADMIN)
    with pytest.raises(ConflictError, match="only owner of shop"):
        await store.users.remove(ann.id)
    await store.access.grant(bob.id, shop.id, Role.OWNER)
    assert await store.access.revoke(ann.id, shop.id)
    assert not await store.access.revoke(ann.id, shop.id)
    await store.users.remove(ann.id)
    assert await store.access.list(shop.id) == [(bob, Role.OWNER)]


async def test_the_last_server_admin_with_a_key_stays(store: Store) -> None:
    root, other = await store.users.ensure("root", admin=True), await store.users.ensure("other", admin=True)
    await store.keys.add(root.id, "laptop", "a", "SHA256:1")
    for refused in (
        store.keys.remove("laptop"),
        store.users.set_admin(root.id, admin=False),
        store.users.remove(root.id),
    ):
        with pytest.raises(ConflictError, match="No server admin"):
            await refused
    await store.keys.add(other.id, "laptop", "b", "SHA256:2")
    await store.keys.remove("SHA256:1")
    await store.users.remove(root.id)
    assert await store.users.by_name("root") is None


async def test_a_user_without_admin_rights_may_lose_every_key(store: Store, ann: User) -> None:
    await store.keys.add(ann.id, "laptop", "a", "SHA256:1")
    await store.keys.used("SHA256:1")
    (key,) = await store.keys.list()
    assert key.last_used_at is not None
    await store.keys.remove("laptop")
    with pytest.raises(NotFoundError):
        await store.users.remove("nobody")


async def test_a_stopped_type_remembers_its_quantity(store: Store, shop: App) -> None:
    formation = store.formation
    await formation.change(shop.id, {"worker": 3}, author="ann", job_kind=None)
    assert await formation.stop(shop.id, {"worker": 3, "web": 1}, author="ann", job_kind="scale")
    assert await formation.get(shop.id) == {"web": 0, "worker": 0}
    assert [item.quantity for item in await formation.asked(shop.id)] == [1, 3]
    assert await formation.start(shop.id, ["worker"], author="ann", job_kind="scale")
    assert await formation.get(shop.id) == {"web": 0, "worker": 3}
    await formation.change(shop.id, {"web": 2}, author="ann", job_kind=None)
    assert Quantity("web", 2) in await formation.asked(shop.id)
    assert await formation.start(shop.id, None, author="ann", job_kind="scale") is None


async def test_limits_are_kept_by_process_type(store: Store, shop: App) -> None:
    web = ProcessLimits(memory=5 << 30, cpus=0.5)
    assert await store.limits.change(shop.id, {"web": web}, author="ann", job_kind="limits")
    assert await store.limits.get(shop.id) == {"web": web}


async def test_a_change_that_joins_a_waiting_one_adds_its_author(store: Store, shop: App) -> None:
    for author in ("ann", "bob", "ann"):
        _, job = await store.config.change(shop.id, {"A": author}, author=author, job_kind="config")
    assert job is not None
    assert job.author == "ann, bob"


async def test_renaming_keeps_the_app_and_refuses_a_taken_name(store: Store, shop: App, ann: User) -> None:
    await store.apps.create("blog", ann.id)
    with pytest.raises(ConflictError, match="taken"):
        await store.apps.rename(shop.id, "blog")
    renamed = await store.apps.rename(shop.id, "store")
    assert (renamed.id, renamed.token, renamed.port) == (shop.id, shop.token, shop.port)
    assert await store.apps.by_name("shop") is None
    await store.apps.set_lock(shop.id, "ann")
    found = await store.apps.by_name("store")
    assert found is not None
    assert found.locked_by == "ann"


async def test_an_older_database_gets_owners_and_guards(tmp_path: Path) -> None:
    path = tmp_path / "old.db"
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(MIGRATIONS))
        command.upgrade(config, "0001")
        connection.execute(text("INSERT INTO users VALUES ('u', 'ann', 0, '2026-11-01 00:00:00')"))
        connection.execute(
            text(
                "INSERT INTO apps (id, name, token, port, created_at, boot_timeout, destroying, builds, releases) "
                "VALUES ('a', 'shop', 't', 5000, '2026-11-01 00:00:00', 60, 0, 0, 0)"
            )
        )
        connection.execute(text("INSERT INTO access VALUES ('u', 'a', 'admin')"))
        connection.execute(
            text(
                "INSERT INTO events (at, who, action, detail) VALUES ('2026-11-01 00:00:00', 'ann', 'x', '')"
            )
        )
    engine.dispose()
    store = await Store.open(f"sqlite+aiosqlite:///{path}", tmp_path / "secret.key")
    try:
        user = await store.users.by_name("ann")
        assert user is not None
        assert await store.access.role(user, "a") is Role.OWNER
        assert [event.result for event in await store.events.list(None, 10)] == ["done"]
    finally:
        await store.close()
    with sqlite3.connect(path) as raw, pytest.raises(sqlite3.IntegrityError):
        raw.execute("DELETE FROM events")
    raw.close()
