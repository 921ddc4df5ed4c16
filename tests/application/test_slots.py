"""The push slot: one holder, one waiter, newest wins, everything bounded."""

import asyncio

import pytest

from cygni.slots import PushSlots
from gitserver.ports import Refused


async def quiet(_: str) -> None:
    pass


class Ear:
    def __init__(self) -> None:
        self.lines: list[str] = []
        self.heard = asyncio.Event()

    async def __call__(self, line: str) -> None:
        self.lines.append(line)
        self.heard.set()


async def hold(slots: PushSlots, who: str, ear: Ear, release: asyncio.Event, order: list[str]) -> None:
    async with slots.hold("app", who, ear):
        order.append(who)
        await release.wait()


async def test_a_second_push_waits_and_is_told_who_holds_the_slot() -> None:
    slots, release, order, ear = PushSlots(), asyncio.Event(), [], Ear()
    async with asyncio.TaskGroup() as tasks:
        async with slots.hold("app", "ann", quiet):
            tasks.create_task(hold(slots, "bob", ear, release, order))
            await asyncio.wait_for(ear.heard.wait(), 5)
            assert order == []
        release.set()
    assert order == ["bob"]
    assert "ann" in ear.lines[0]


async def test_a_newer_waiter_replaces_the_older_one() -> None:
    slots, release, order = PushSlots(), asyncio.Event(), []
    old, new = Ear(), Ear()
    async with slots.hold("app", "ann", quiet):
        first = asyncio.create_task(hold(slots, "old", old, release, order))
        await asyncio.wait_for(old.heard.wait(), 5)
        second = asyncio.create_task(hold(slots, "new", new, release, order))
        await asyncio.wait_for(new.heard.wait(), 5)
        with pytest.raises(Refused, match="newer push"):
            await asyncio.wait_for(first, 5)
    release.set()
    await asyncio.wait_for(second, 5)
    assert order == ["new"]


async def test_a_cancelled_waiter_leaves_the_slot_usable() -> None:
    slots, release, order, ear = PushSlots(), asyncio.Event(), [], Ear()
    async with slots.hold("app", "ann", quiet):
        waiter = asyncio.create_task(hold(slots, "bob", ear, release, order))
        await asyncio.wait_for(ear.heard.wait(), 5)
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
    async with asyncio.timeout(5), slots.hold("app", "eve", quiet):
        order.append("eve")
    assert order == ["eve"]


async def test_a_wait_ends_at_its_limit() -> None:
    slots = PushSlots(wait_limit=0.05, remind_every=0.02)
    async with slots.hold("app", "ann", quiet):
        with pytest.raises(Refused, match="not ended in time"):
            async with slots.hold("app", "bob", quiet):
                raise AssertionError


async def test_two_apps_do_not_wait_for_each_other() -> None:
    slots = PushSlots()
    async with asyncio.timeout(5), slots.hold("one", "ann", quiet), slots.hold("two", "bob", quiet):
        pass
