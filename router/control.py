"""The control socket: control planes connect here (mode 0600, one message a line).

A client that speaks HTTP gets the metrics: `curl --unix-socket PATH http://router/metrics`.
"""

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from router import feed, paths
from router.errors import FeedError, RouterUnavailableError
from router.relay import ClientState, Relay

_log = logging.getLogger(__name__)
_UNREAD_LIMIT = 16 << 20
_STALLED = 10.0
_HANDSHAKE = 5.0


class StreamPeer:
    """A stream's writing side that never waits for the reader: one too far behind is disconnected."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        """Write to `writer`, which its owner closes."""
        self._writer = writer

    def send(self, line: bytes) -> None:
        """Queue one encoded message."""
        if self._writer.is_closing():
            return
        self._writer.write(line)
        if self._writer.transport.get_write_buffer_size() > _UNREAD_LIMIT:
            self._writer.transport.abort()

    async def drain(self) -> None:
        """Wait until the peer has room again; one that stays stalled is disconnected."""
        try:
            async with asyncio.timeout(_STALLED):
                await self._writer.drain()
        except (TimeoutError, OSError):
            self._writer.transport.abort()


class ControlServer:
    """Accepts control planes and joins them to the relay."""

    def __init__(self, path: Path, relay: Relay, hello: Callable[[], feed.Hello]) -> None:
        """Serve at `path`; `hello` makes each client's greeting."""
        self._path = path
        self._relay = relay
        self._hello = hello
        self._server: asyncio.Server | None = None
        self._identity: tuple[int, int] | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, replacing a socket that another router left or still uses.

        Raises:
            RouterUnavailableError: the path cannot be used.
        """
        try:
            listener = paths.listen(self._path)
            status = self._path.stat()
        except OSError as error:
            raise RouterUnavailableError(f"cannot listen at {self._path}: {error.strerror}") from None
        self._identity = status.st_dev, status.st_ino
        self._server = await asyncio.start_unix_server(self._accept, sock=listener, limit=feed.LINE_LIMIT)

    def replaced(self) -> bool:
        """Whether another router serves the path by now."""
        try:
            status = self._path.stat()
        except FileNotFoundError:
            return False
        return (status.st_dev, status.st_ino) != self._identity

    async def close(self) -> None:
        """Disconnect everybody and leave the path to a successor, if there is one."""
        if self._server is not None:
            self._server.close()
            self._server = None
            if not self.replaced():
                self._path.unlink(missing_ok=True)
        for session in list(self._sessions):
            session.cancel()
        await asyncio.gather(*self._sessions, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        session = asyncio.current_task()
        assert session is not None
        self._sessions.add(session)
        client = ClientState(StreamPeer(writer))
        try:
            await self._converse(reader, client)
        except (FeedError, OSError, TimeoutError, ValueError) as error:
            _log.warning("control connection ended: %s", str(error) or type(error).__name__)
        except asyncio.CancelledError:
            pass  # only `close` cancels sessions: the stream ends here
        finally:
            self._relay.leave_client(client)
            self._sessions.discard(session)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, client: ClientState) -> None:
        async with asyncio.timeout(_HANDSHAKE):
            line = await reader.readline()
        if line.startswith(b"GET "):
            self._answer(line, client)
            return
        opening = feed.decode(line)
        if not isinstance(opening, feed.Subscribe) or opening.protocol != feed.PROTOCOL:
            raise FeedError("a client speaks another protocol version")
        client.collect = opening.collect
        client.peer.send(feed.encode(self._hello()))
        self._relay.join_client(client)
        while line := await reader.readline():
            self._relay.from_client(client, feed.decode(line))

    def _answer(self, line: bytes, client: ClientState) -> None:
        found = line.split(b" ")[1] == b"/metrics"
        text = (self._relay.metrics() if found else "Only /metrics is here.\n").encode()
        head = (
            f"HTTP/1.1 {'200 OK' if found else '404 Not Found'}\r\n"
            "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"
            f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
        )
        client.peer.send(head.encode() + text)
