"""One push of an app at a time, taken before refs are advertised, so a waiting client sees the true tip."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

from cygni import messages
from cygni.output import Announce
from gitserver.ports import Refused


@dataclass
class _Slot:
    holder: str | None = None
    """What those who wait are told of whoever has it."""
    since: float = 0
    newest: object = None
    waiting: int = 0
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def change(self) -> None:
        """Wake everyone who waits; they look again."""
        self.changed.set()
        self.changed = asyncio.Event()


class PushSlots:
    """Per app one holder and one waiter; a newer waiter replaces the older. Times are seconds."""

    def __init__(self, wait_limit: float = 5400, remind_every: float = 10) -> None:
        self._slots: defaultdict[str, _Slot] = defaultdict(_Slot)
        self._wait_limit = wait_limit
        self._remind_every = remind_every

    @asynccontextmanager
    async def hold(self, app_id: str, who: str, announce: Announce) -> AsyncIterator[None]:
        """Hold the app's slot; waiting is told through `announce`.

        Raises:
            Refused: replaced by a newer push while waiting, or waited for too long.
        """
        slot = self._slots[app_id]
        await self._take(slot, who, announce)
        try:
            yield
        finally:
            slot.holder = None
            slot.change()

    @contextmanager
    def try_hold(self, app_id: str) -> Iterator[bool]:
        """Hold the slot, for something else than a push, if it is free; yields whether it is held."""
        slot = self._slots[app_id]
        if slot.holder is not None:
            yield False
            return
        slot.holder, slot.since = messages.push_waits_for_upkeep(), asyncio.get_running_loop().time()
        try:
            yield True
        finally:
            slot.holder = None
            slot.change()

    def awaited(self, app_id: str) -> bool:
        """Whether someone waits for the slot."""
        return app_id in self._slots and self._slots[app_id].waiting > 0

    async def _take(self, slot: _Slot, who: str, announce: Announce) -> None:
        loop = asyncio.get_running_loop()
        slot.newest = me = object()
        slot.change()
        slot.waiting += 1
        try:
            await self._wait(slot, me, announce)
        finally:
            slot.waiting -= 1
        slot.holder, slot.since = messages.push_waits_for(who), loop.time()

    async def _wait(self, slot: _Slot, me: object, announce: Announce) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._wait_limit
        while slot.holder is not None:
            if loop.time() >= deadline:
                raise Refused(messages.push_waited_too_long())
            await announce(messages.push_waiting(slot.holder, int(loop.time() - slot.since)))
            await self._pause(slot)
            if slot.newest is not me:
                raise Refused(messages.push_replaced())

    async def _pause(self, slot: _Slot) -> None:
        if slot.holder is None:  # it changed while the reminder was being sent
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(slot.changed.wait(), self._remind_every)
