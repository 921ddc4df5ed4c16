"""Monitors follow an instance to where it is now."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from deployer_world import PACE, VIGILANCE, eventually

from deployer.manifest import Health
from deployer.monitor import Verdict
from deployer.monitors import Monitors
from deployer.ports import Address, Instance


@asynccontextmanager
async def web(host: str) -> AsyncIterator[Address]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(answer, host, 0)
    async with server:
        yield Address(host, server.sockets[0].getsockname()[1])


def instance(address: Address) -> Instance:
    return Instance("one", "app", "shop", 1, "web", 1, "running", address)


async def test_an_instance_that_came_back_at_another_address_is_looked_at_there() -> None:
    monitors = Monitors(PACE, VIGILANCE)
    async with web("127.0.0.1") as first:
        await monitors.follow("app", [instance(first)], Health(), lambda: None)
        await eventually(lambda: monitors.verdict(instance(first)) is Verdict.READY)
    async with web("127.0.0.2") as second:
        await monitors.follow("app", [instance(second)], Health(), lambda: None)
        assert monitors.verdict(instance(second)) is not Verdict.READY
        await eventually(lambda: monitors.verdict(instance(second)) is Verdict.READY)
    await monitors.close()
