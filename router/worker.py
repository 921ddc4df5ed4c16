"""A worker process: accepts on inherited sockets, applies the tables its parent sends, exits with its parent."""

import asyncio
import contextlib
import gc
import json
import logging
import resource
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import ip_network

import uvloop

from router import feed
from router.downstream import ClientConnection
from router.errors import FeedError
from router.forward import Network
from router.gateway import Gateway
from router.options import Limits
from router.store import table_of

_log = logging.getLogger("router.worker")
_BACKLOG = 4_096
_UNSENT_LIMIT = 4 << 20
_RESERVED_DESCRIPTORS = 128
_FAREWELL = 2.0


@dataclass(frozen=True)
class WorkerOptions:
    """What the parent tells on the command line."""

    channel: int
    listeners: Sequence[int]
    tls_listeners: Sequence[int]
    https_port: int
    domain: str
    trusted: tuple[Network, ...]
    limits: Limits

    @classmethod
    def parse(cls, text: str) -> "WorkerOptions":
        """Read the parent's JSON."""
        told = json.loads(text)
        return cls(
            channel=told["channel"],
            listeners=told["listeners"],
            tls_listeners=told["tls_listeners"],
            https_port=told["https_port"],
            domain=told["domain"],
            trusted=tuple(ip_network(item, strict=False) for item in told["trusted"]),
            limits=_fitted(Limits(**told["limits"])),
        )


class Worker:
    """Runs one worker until its parent says stop or is gone."""

    def __init__(self, options: WorkerOptions) -> None:
        """Nothing is opened yet."""
        self._options = options
        self._stopping = asyncio.Event()
        self._servers: list[asyncio.Server] = []
        self._writer: asyncio.StreamWriter
        self._gateway: Gateway

    async def run(self) -> None:
        """Serve; returns after draining."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stopping.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # a terminal's Ctrl-C reaches the parent too
        reader, self._writer = await asyncio.open_unix_connection(
            sock=socket.socket(fileno=self._options.channel), limit=feed.LINE_LIMIT
        )
        options = self._options
        self._gateway = Gateway(
            options.limits, options.domain, options.trusted, options.https_port, self._send, loop
        )
        listening = asyncio.create_task(self._listen(reader))
        sweeping = asyncio.create_task(self._sweep())
        await self._stopping.wait()
        await self._refuse_new()
        await self._gateway.drain()
        sweeping.cancel()
        listening.cancel()
        await asyncio.gather(listening, sweeping, return_exceptions=True)
        await self._leave()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while line := await reader.readline():
                await self._receive(feed.decode(line))
        except ConnectionError:
            pass  # the parent was killed: the same as its end
        except (FeedError, OSError, ValueError) as error:
            _log.error("the parent's stream broke: %s", error)
        finally:
            self._stopping.set()

    async def _receive(self, message: feed.Message) -> None:
        match message:
            case feed.Snapshot(version=version):
                self._gateway.replace(table_of(message))
                await self._accept()
                self._send(feed.encode(feed.Ack(version)))
            case feed.Change(version=version, route=route):
                self._gateway.change(version, route)
                self._send(feed.encode(feed.Ack(version)))
            case feed.Remove(version=version, app_id=app_id):
                self._gateway.remove(version, app_id)
                self._send(feed.encode(feed.Ack(version)))
            case feed.Certify(version=version, certificate=certificate):
                self._gateway.certify(version, certificate)
                self._send(feed.encode(feed.Ack(version)))
            case feed.Uncertify(version=version, name=name):
                self._gateway.uncertify(version, name)
                self._send(feed.encode(feed.Ack(version)))
            case feed.Drain(query=query, app_id=app_id, instance_ids=instance_ids):
                answer = feed.encode(feed.Drained(query, app_id, instance_ids))
                self._gateway.when_drained(app_id, instance_ids, lambda: self._tell(answer))
            case feed.Stop():
                self._stopping.set()
            case _:
                pass

    async def _accept(self) -> None:
        """Accept connections once there is a table; later snapshots find it done."""
        if self._servers or self._stopping.is_set():
            return
        loop, gateway = asyncio.get_running_loop(), self._gateway
        for number in self._options.listeners:
            server = await loop.create_server(
                lambda: ClientConnection(gateway, b"http"),
                sock=socket.socket(fileno=number),
                backlog=_BACKLOG,
            )
            self._servers.append(server)
        for number in self._options.tls_listeners:
            server = await loop.create_server(
                lambda: ClientConnection(gateway, b"https"),
                sock=socket.socket(fileno=number),
                backlog=_BACKLOG,
                ssl=gateway.certificates.context,
                ssl_handshake_timeout=gateway.limits.header_timeout,
                ssl_shutdown_timeout=gateway.limits.linger,
            )
            self._servers.append(server)

    async def _refuse_new(self) -> None:
        """Stop accepting; connections that were accepted in this turn of the loop are announced in the next."""
        for server in self._servers:
            server.close()
        for _ in range(2):
            await asyncio.sleep(0)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(self._options.limits.sweep)
            self._gateway.sweep()

    def _send(self, line: bytes) -> bool:
        if self._writer.is_closing() or self._writer.transport.get_write_buffer_size() > _UNSENT_LIMIT:
            return False
        self._writer.write(line)
        return True

    def _tell(self, line: bytes) -> None:
        self._send(line)

    async def _leave(self) -> None:
        """Let the last lines reach the parent."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(_FAREWELL):
                self._writer.close()
                await self._writer.wait_closed()


def _fitted(limits: Limits) -> Limits:
    """Raise the descriptor limit as far as allowed; a connection needs two descriptors at most."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return replace(limits, connections=max(1, min(limits.connections, (hard - _RESERVED_DESCRIPTORS) // 2)))


def main() -> None:
    """Entry of the process; the parent is the only caller."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    options = WorkerOptions.parse(sys.argv[1])
    gc.freeze()
    gc.set_threshold(
        20_000, 20, 20
    )  # requests make no cycles; looking for some costs a pause with many connections
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(Worker(options).run())


if __name__ == "__main__":
    main()
