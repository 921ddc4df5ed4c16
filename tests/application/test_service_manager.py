"""What a service is told by its manager and tells it, over a real socket."""

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from config.service import ServiceManager, inherited


@contextmanager
def listening(address: str) -> Iterator[socket.socket]:
    with closing(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)) as manager:
        manager.bind(address.replace("@", "\0", 1))
        manager.settimeout(5)
        yield manager


@pytest.mark.parametrize("abstract", [False, True])
def test_states_reach_the_manager_in_order(tmp_path: Path, abstract: bool) -> None:
    address = f"@cygni-test-{os.getpid()}" if abstract else str(tmp_path / "notify")
    environment = {"NOTIFY_SOCKET": address, "KEPT": "1"}
    with listening(address) as manager:
        service = ServiceManager(environment)
        service.ready()
        service.stopping()
        assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"STOPPING=1"]
    assert environment == {"KEPT": "1"}, "a child would speak in our name"


async def test_signs_of_life_come_well_within_the_period(tmp_path: Path) -> None:
    environment = {
        "NOTIFY_SOCKET": str(tmp_path / "notify"),
        "WATCHDOG_USEC": "300000",
        "WATCHDOG_PID": str(os.getpid()),
    }
    with listening(environment["NOTIFY_SOCKET"]) as manager:
        alive = asyncio.create_task(ServiceManager(environment).keep_alive())
        for _ in range(3):
            assert await asyncio.to_thread(manager.recv, 100) == b"WATCHDOG=1"
        assert not alive.done()
        alive.cancel()


@pytest.mark.parametrize("environment", [{}, {"WATCHDOG_USEC": "300000", "WATCHDOG_PID": "1"}])
async def test_without_a_manager_nothing_happens(environment: dict[str, str]) -> None:
    service = ServiceManager(environment)
    service.ready()
    async with asyncio.timeout(5):
        await service.keep_alive()


def test_sockets_for_another_process_are_left_alone() -> None:
    environment = {"LISTEN_PID": "1", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "ssh"}
    assert inherited(environment) == []
    assert environment == {}
