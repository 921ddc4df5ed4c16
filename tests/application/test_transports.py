"""What the door does before a command line is looked at: rates, and the use of keys."""

from dataclasses import dataclass, field
from typing import Any
from unittest.mock import AsyncMock

from cygni.commands.rate import CommandRate
from cygni.domain.errors import CygniError
from cygni.keys import UsedKeys
from cygni.transports import SshCommands
from gitserver.ports import Principal

ANN = Principal("1", "ann", admin=False, key="SHA256:1", address="192.0.2.7")
NOBODY: Any = None


@dataclass
class Session:
    """A session that remembers what it was told."""

    command: str
    principal: Principal = ANN
    told: list[bytes] = field(default_factory=list)

    async def err(self, data: bytes) -> None:
        self.told.append(data)


async def test_who_runs_too_many_commands_is_told_when_to_go_on() -> None:
    commands = SshCommands(NOBODY, AsyncMock(), CommandRate(burst=0, per_second=0.5, clock=lambda: 0.0))
    session: Any = Session("apps")
    assert await commands.run(session) == 75
    assert session.told == [b" !     Too many commands from you. Try again in 2 s.\n"]


async def test_the_use_of_a_key_is_noted_once_a_minute_and_a_full_disk_is_no_obstacle() -> None:
    store, now = AsyncMock(), [0.0]
    used = UsedKeys(store, clock=lambda: now[0])
    for moment in (0.0, 59.0, 61.0):
        now[0] = moment
        await used.note(ANN)
    assert store.keys.used.await_count == 2
    store.keys.used.side_effect = CygniError("the disk is full")
    now[0] = 200.0
    await used.note(ANN)
    assert store.keys.used.await_count == 3
