"""A backend that upgrades every connection and echoes: for `script/bench router`."""

from __future__ import annotations

import asyncio

import uvloop


class Echo(asyncio.Protocol):
    def __init__(self) -> None:
        self.upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if self.upgraded:
            self.transport.write(data)  # type: ignore[attr-defined]
        elif b"\r\n\r\n" in data:
            self.upgraded = True
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )  # type: ignore[attr-defined]


def serve(port: int) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=4_096)
        await server.serve_forever()

    uvloop.run(run())
