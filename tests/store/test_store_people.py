"""Users, keys, apps and access."""

import asyncio
from typing import Any

import pytest

from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, HealthSettings, JobStatus, Lane, Role, User
from cygni.store import Store


async def test_ensuring_a_user_again_returns_the_same_and_never_takes_admin_away(store: Store) -> None:
    first = await store.users.ensure("ann")
    raised = await store.users.ensure("ann", admin=True)
    again = await store.users.ensure("ann")
    assert (first.id, first.admin) == (raised.id, False)
    assert raised.admin
    assert again == raised
    assert await store.users.get(first.id) == raised
    assert await store.users.get("nobody") is None


async def test_twenty_at_once_ensure_one_user(store: Store) -> None:
    users = await asyncio.gather(*(store.users.ensure("ann") for _ in range(20)))
    assert len({user.id for user in users}) == 1
    assert len(await store.users.list()) == 1


async def test_a_key_is_found_by_fingerprint_with_its_user(store: Store, ann: User) -> None:
    key = await store.keys.add(ann.id, "laptop", "ssh-ed25519 AAAA", "SHA256:1")
    assert await store.keys.by_fingerprint("SHA256:1") == (ann, key)
    assert await store.keys.by_fingerprint("SHA256:2") is None


async def test_a_fingerprint_belongs_to_one_user_and_a_name_to_one_key_of_a_user(
    store: Store, ann: User
) -> None:
    bob = await store.users.ensure("bob")
    await store.keys.add(ann.id, "laptop", "a", "SHA256:1")
    with pytest.raises(ConflictError):
        await store.keys.add(bob.id, "other", "a", "SHA256:1")
    with pytest.raises(ConflictError):
        await store.keys.add(ann.id, "laptop", "b", "SHA256:2")
    await store.keys.add(bob.id, "laptop", "b", "SHA256:2")
    assert [key.fingerprint for key in await store.keys.list()] == ["SHA256:1", "SHA256:2"]
    assert [key.fingerprint for key in await store.keys.list(bob.id)] == ["SHA256:2"]


async def test_a_key_for_nobody_is_refused(store: Store) -> None:
    with pytest.raises(NotFoundError):
        await store.keys.add("nobody", "laptop", "a", "SHA256:1")


async def test_removing_a_key_takes_one_of_the_user_only_and_no_ambiguous_one(
    store: Store, ann: User
) -> None:
    bob = await store.users.ensure("bob")
    mine = await store.keys.add(ann.id, "laptop", "a", "SHA256:1")
    await store.keys.add(bob.id, "laptop", "b", "SHA256:2")
    with pytest.raises(ConflictError, match="fingerprint"):
        await store.keys.remove("laptop")
    with pytest.raises(NotFoundError):
        await store.keys.remove("SHA256:2", ann.id)
    assert await store.keys.remove("laptop", ann.id) == mine
    assert (await store.keys.remove("SHA256:2")).user_id == bob.id
    assert await store.keys.list() == []


async def test_a_new_app_has_its_owner_a_port_and_an_unguessable_token(store: Store, ann: User) -> None:
    shop = await store.apps.create("shop", ann.id)
    blog = await store.apps.create("blog", ann.id)
    assert await store.access.role(ann, shop.id) is Role.OWNER
    assert (shop.port, blog.port) == (5000, 5001)
    assert len(shop.token) == 32
    assert shop.token != blog.token
    assert shop.token not in repr(shop)
    assert await store.apps.by_name("shop") == await store.apps.by_id(shop.id) == shop
    assert await store.apps.by_name("nope") is await store.apps.by_id("nope") is None


async def test_of_twenty_creations_at_once_one_gets_the_name_and_ports_differ(
    store: Store, ann: User
) -> None:
    same = await asyncio.gather(
        *(store.apps.create("shop", ann.id) for _ in range(20)), return_exceptions=True
    )
    assert sum(isinstance(result, App) for result in same) == 1
    assert all(isinstance(result, App | ConflictError) for result in same)
    different = await asyncio.gather(*(store.apps.create(f"app{n}", ann.id) for n in range(20)))
    assert len({app.port for app in different}) == 20


async def test_the_port_of_a_destroyed_app_is_not_given_to_the_next(store: Store, ann: User) -> None:
    first = await store.apps.create("one", ann.id)
    await store.apps.delete(first.id)
    second = await store.apps.create("two", ann.id)
    assert second.port == first.port + 1


async def test_ports_are_used_again_after_the_last_one(store: Store, ann: User) -> None:
    kept = await store.apps.create("kept", ann.id)
    async with store.database.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE server SET last_port = 32766")
    assert (await store.apps.create("last", ann.id)).port == 32767
    assert (await store.apps.create("again", ann.id)).port == kept.port + 1


async def test_people_see_the_apps_they_have_a_role_on_and_server_admins_all(store: Store, ann: User) -> None:
    shop = await store.apps.create("shop", ann.id)
    bob = await store.users.ensure("bob")
    root = await store.users.ensure("root", admin=True)
    assert await store.apps.visible_to(bob) == []
    assert await store.access.role(bob, shop.id) is None
    assert await store.apps.visible_to(root) == [shop] == await store.apps.all()
    assert await store.access.role(root, shop.id) is Role.OWNER
    await store.access.grant(bob.id, shop.id, Role.VIEWER)
    await store.access.grant(bob.id, shop.id, Role.DEPLOYER)
    assert await store.access.role(bob, shop.id) is Role.DEPLOYER
    assert await store.apps.visible_to(bob) == [shop]
    assert await store.access.list(shop.id) == [(ann, Role.OWNER), (bob, Role.DEPLOYER)]
    await store.access.revoke(bob.id, shop.id)
    await store.access.revoke(bob.id, shop.id)
    assert await store.apps.visible_to(bob) == []


async def test_roles_for_nobody_or_on_nothing_are_refused(store: Store, shop: App, ann: User) -> None:
    with pytest.raises(NotFoundError):
        await store.access.grant("nobody", shop.id, Role.VIEWER)
    with pytest.raises(NotFoundError):
        await store.access.grant(ann.id, "nothing", Role.VIEWER)


async def test_settings_of_an_app_are_kept(store: Store, shop: App) -> None:
    await store.apps.set_deploy_branch(shop.id, "trunk")
    await store.apps.set_health(shop.id, HealthSettings("/up", 5.5))
    await store.apps.mark_destroying(shop.id)
    kept = await store.apps.by_id(shop.id)
    assert kept is not None
    assert (kept.deploy_branch, kept.health, kept.destroying) == ("trunk", HealthSettings("/up", 5.5), True)
    with pytest.raises(NotFoundError):
        await store.apps.mark_destroying("nothing")


async def test_an_app_being_destroyed_takes_no_new_work_but_the_destroying(store: Store, shop: App) -> None:
    await store.apps.mark_destroying(shop.id)
    with pytest.raises(ConflictError):
        await store.config.change(shop.id, {"A": "1"}, author="ann", job_kind=None)
    with pytest.raises(ConflictError):
        await store.formation.change(shop.id, {"web": 1}, author="ann", job_kind=None)
    assert (await store.jobs.enqueue(shop.id, Lane.DEPLOY, "destroy", {}, "ann")).status is JobStatus.QUEUED


async def test_deleting_an_app_removes_what_hangs_on_it_but_not_the_audit_trail_or_the_running_job(
    store: Store, shop: App, ann: User, make_build: Any, make_release: Any
) -> None:
    running = await store.jobs.enqueue(shop.id, Lane.DEPLOY, "destroy", {}, "ann")
    await store.jobs.claim("me")
    build, waiting = await make_build()
    release = await make_release(build_id=build.id, live=True)
    await store.config.change(shop.id, {"A": "1"}, author="ann", job_kind=None)
    await store.formation.change(shop.id, {"web": 2}, author="ann", job_kind=None)
    await store.events.record("ann", "apps:destroy", shop.id, "shop")

    await store.apps.delete(shop.id)
    await store.apps.delete(shop.id)

    assert await store.apps.by_id(shop.id) is None
    assert await store.builds.get(build.id) is None
    assert await store.releases.get(shop.id, release.version) is None
    assert await store.config.get(shop.id) == {}
    assert await store.formation.get(shop.id) == {}
    assert await store.apps.visible_to(ann) == []
    assert [event.action for event in await store.events.list(shop.id, 10)] == ["apps:destroy"]
    cancelled = await store.jobs.get(waiting.id)
    assert cancelled is not None
    assert cancelled.status is JobStatus.CANCELLED
    assert await store.jobs.finish(running.id, JobStatus.DONE, "gone")


async def test_the_audit_trail_is_newest_first_and_by_app(store: Store, shop: App) -> None:
    await store.events.record("ann", "keys:add", None, "laptop")
    await store.events.record("bob", "config", shop.id, "A")
    assert [(event.who, event.app_id) for event in await store.events.list(None, 10)] == [
        ("bob", shop.id),
        ("ann", None),
    ]
    assert [event.detail for event in await store.events.list(shop.id, 10)] == ["A"]
    assert len(await store.events.list(None, 1)) == 1


async def test_an_app_is_marked_and_its_removal_enqueued_in_one_step(store: Store, shop: App) -> None:
    first = await store.apps.mark_destroying(shop.id, author="ann", job_kind="destroy")
    again = await store.apps.mark_destroying(shop.id, author="bob", job_kind="destroy")
    assert first is not None
    assert again is not None
    assert (again.id, again.author) == (first.id, "ann, bob")
    assert (await store.jobs.claim("me")) == await store.jobs.get(first.id)
