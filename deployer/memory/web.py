"""The web server of an instance in memory: HTTP/1.1 with keep-alive, one answer for everything."""

import asyncio
from contextlib import suppress

_HEAD_LIMIT = 1 << 16


class Web:
    """Accepts at one address; `text` and `status` are the answer, `delay` seconds after the request."""

    def __init__(self, text: str, status: int, delay: float) -> None:
        self._body = text.encode()
        self._status = status
        self._delay = delay
        self._server: asyncio.Server | None = None
        self._answering: dict[asyncio.Task[None], bool] = {}

    async def listen(self, host: str, port: int) -> None:
        """Begin to accept.

        Raises:
            OSError: the address is taken.
        """
        self._server = await asyncio.start_server(self._accept, host, port, limit=_HEAD_LIMIT)

    def refuse(self) -> None:
        """Accept no more; requests under way get their answers, idle connections end."""
        if self._server is not None:
            self._server.close()
        for task, busy in self._answering.items():
            if not busy:
                task.cancel()

    def cut(self) -> None:
        """Accept no more and break every connection."""
        self.refuse()
        for task in self._answering:
            task.cancel()

    async def closed(self) -> None:
        """Wait until no connection is left."""
        await asyncio.gather(*self._answering, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._answering[task] = False

        def done(task: asyncio.Task[None]) -> None:
            del self._answering[task]
            # Here and not in the task: one that is cancelled before it begins runs none of its own lines.
            writer.transport.abort() if task.cancelled() else writer.close()

        task.add_done_callback(done)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        with suppress(OSError, EOFError, asyncio.LimitOverrunError):
            while await self._answer(task, reader, writer):
                self._answering[task] = False

    async def _answer(
        self, task: asyncio.Task[None], reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        """Return whether the connection stays open."""
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        self._answering[task] = True
        await reader.readexactly(_length(head))
        await asyncio.sleep(self._delay)
        stays = self._server is not None and self._server.is_serving() and _keeps(head)
        # A body in chunks is not read: closing after the answer is allowed, and simpler.
        connection = b"keep-alive" if stays else b"close"
        writer.write(
            b"HTTP/1.1 %d Memory\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s"
            % (self._status, len(self._body), connection, b"" if head.startswith(b"head ") else self._body)
        )
        await writer.drain()
        return stays


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


def _keeps(head: bytes) -> bool:
    return b"\r\nconnection: close" not in head and b"\r\ntransfer-encoding:" not in head
