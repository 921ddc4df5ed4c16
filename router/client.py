"""The control plane's end of the control stream: publish routes, wait for acknowledgements, collect lines."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from router import feed, paths
from router.errors import FeedError, RouterTimeoutError, RouterUnavailableError
from router.table import AppRoute, Certificate

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 2.0
_HANDSHAKE = 5.0
_UNSENT_LIMIT = 128 << 20
_EVENTS = 1_000

T = TypeVar("T")


class RouterClient:
    """Keeps one router's table equal to what was published, over reconnects and restarts of either side.

    Nothing here fails because the router is away: what was published meanwhile is sent on reconnect, as a
    whole table once `synchronize` was called. Only waits (`connect`, `acknowledged`) raise.
    """

    def __init__(self, socket_path: Path, *, collect: bool = True, access_lines: int = 10_000) -> None:
        """Prepare; `collect` asks for access lines, of which `access_lines` may wait for their reader."""
        self._path = socket_path
        self._collect = collect
        self._access: asyncio.Queue[feed.AccessLine | None] = asyncio.Queue(access_lines)
        self._events: asyncio.Queue[feed.Event | None] = asyncio.Queue(_EVENTS)
        self._published: dict[str, AppRoute | None] = {}
        self._certificates: dict[str, Certificate | None] = {}
        self._synchronized = False
        self._version = 0
        self._acked = 0
        self._query = 0
        self._acks: dict[asyncio.Future[None], int] = {}
        self._drains: dict[int, tuple[feed.Drain, asyncio.Future[None]]] = {}
        self._hello: feed.Hello | None = None
        self._connected = asyncio.Event()
        self._refused = "nobody answers"
        self._writer: asyncio.StreamWriter | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._last_requests: dict[str, float] = {}
        self._dropped = 0

    @property
    def http_port(self) -> int:
        """The port the router accepts HTTP on.

        Raises:
            RouterUnavailableError: before the first connection.
        """
        return self._greeting().http_port

    @property
    def https_port(self) -> int:
        """The port the router speaks TLS on, 0 for none. Raises like `http_port`."""
        return self._greeting().https_port

    @property
    def pid(self) -> int:
        """The router's process id, of the newest connection. Raises like `http_port`."""
        return self._greeting().pid

    @property
    def connected(self) -> bool:
        """Whether the stream stands now."""
        return self._connected.is_set()

    @property
    def last_requests(self) -> Mapping[str, float]:
        """Unix time of the newest request by app id, as far as the router has told."""
        return self._last_requests

    @property
    def dropped(self) -> int:
        """Access lines and events lost on the way, in total."""
        return self._dropped

    async def connect(self, timeout: float) -> None:
        """Connect and keep connected until `close`.

        Raises:
            RouterUnavailableError: no router answered within `timeout` seconds; trying goes on behind.
        """
        if self._keeper is None:
            self._keeper = asyncio.create_task(self._keep(), name="router-client")
        try:
            async with asyncio.timeout(timeout):
                await self._connected.wait()
        except TimeoutError:
            raise RouterUnavailableError(f"no router at {self._path}: {self._refused}") from None

    async def publish(self, route: AppRoute) -> int:
        """Set an app's route; return the number that `acknowledged` takes. Sent now or on reconnect."""
        self._published[route.app_id] = route
        return self._number(lambda version: feed.Change(version, route))

    async def remove(self, app_id: str) -> int:
        """Remove an app's route; return the number that `acknowledged` takes."""
        self._published[app_id] = None
        if self._synchronized:
            del self._published[app_id]
        return self._number(lambda version: feed.Remove(version, app_id))

    async def certify(self, certificate: Certificate) -> int:
        """Set the certificate of its name; return the number that `acknowledged` takes."""
        self._certificates[certificate.name] = certificate
        return self._number(lambda version: feed.Certify(version, certificate))

    async def uncertify(self, name: str) -> int:
        """Show a certificate no longer; return the number that `acknowledged` takes."""
        self._certificates[name] = None
        if self._synchronized:
            del self._certificates[name]
        return self._number(lambda version: feed.Uncertify(version, name))

    async def synchronize(
        self, routes: Iterable[AppRoute], certificates: Iterable[Certificate] | None = None
    ) -> int:
        """Make `routes` the whole table; return the number that `acknowledged` takes.

        `certificates` likewise; None keeps those that were told here before.
        """
        self._published = {route.app_id: route for route in routes}
        if certificates is not None:
            self._certificates = {item.name: item for item in certificates}
        self._synchronized = True
        return self._number(self._snapshot)

    async def acknowledged(self, version: int, timeout: float) -> None:
        """Wait until everything up to `version` is saved and applied in every live worker.

        Raises:
            RouterTimeoutError: that did not happen within `timeout` seconds.
        """
        if version <= self._acked:
            return
        future = asyncio.get_running_loop().create_future()
        self._acks[future] = version
        try:
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            raise RouterTimeoutError(f"the router has not acknowledged within {timeout:g} s") from None
        finally:
            del self._acks[future]

    async def drained(self, app_id: str, instance_ids: Sequence[str], timeout: float) -> bool:
        """Wait until no request is in flight to these instances; False when `timeout` seconds came first."""
        self._query += 1
        query = feed.Drain(self._query, app_id, tuple(instance_ids))
        future = asyncio.get_running_loop().create_future()
        self._drains[query.query] = query, future
        try:
            self._send(query)
            async with asyncio.timeout(timeout):
                await future
        except TimeoutError:
            return False
        finally:
            del self._drains[query.query]
        return True

    async def access(self) -> AsyncIterator[feed.AccessLine]:
        """Yield access lines as they come, until `close`. One reader."""
        while (line := await self._access.get()) is not None:
            yield line

    async def events(self) -> AsyncIterator[feed.Event]:
        """Yield ejections and wake requests as they come, until `close`. One reader."""
        while (event := await self._events.get()) is not None:
            yield event

    async def close(self) -> None:
        """Disconnect and end `access` and `events`."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
            self._keeper = None
        self._offer(self._access, None)
        self._offer(self._events, None)

    def _greeting(self) -> feed.Hello:
        if self._hello is None:
            raise RouterUnavailableError(f"no router at {self._path} has answered yet")
        return self._hello

    def _number(self, message: Callable[[int], feed.Down]) -> int:
        self._version += 1
        self._send(message(self._version))
        return self._version

    def _snapshot(self, version: int) -> feed.Snapshot:
        routes = tuple(route for route in self._published.values() if route is not None)
        certificates = tuple(item for item in self._certificates.values() if item is not None)
        return feed.Snapshot(version, routes, certificates)

    def _send(self, message: feed.Down) -> None:
        if self._writer is None or not self._connected.is_set():
            return
        self._writer.write(feed.encode(message))
        if self._writer.transport.get_write_buffer_size() > _UNSENT_LIMIT:
            self._writer.transport.abort()  # a router that does not read gets everything anew on reconnect

    async def _keep(self) -> None:
        failures = 0
        while True:
            try:
                await self._session()
                failures = 0
            except (OSError, TimeoutError, FeedError, ValueError) as error:
                self._refused = str(error) or type(error).__name__
                failures += 1
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(failures, 10))
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - jitter, not a secret

    async def _session(self) -> None:
        reader, writer = await asyncio.open_unix_connection(
            sock=paths.connect(self._path), limit=feed.LINE_LIMIT
        )
        try:
            await self._greet(reader, writer)
            while line := await reader.readline():
                self._receive(feed.decode(line))
        finally:
            self._connected.clear()
            self._writer = None
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _greet(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(feed.encode(feed.Subscribe(collect=self._collect)))
        async with asyncio.timeout(_HANDSHAKE):
            hello = feed.decode(await reader.readline())
        if not isinstance(hello, feed.Hello) or hello.protocol != feed.PROTOCOL:
            raise FeedError("the router speaks another protocol version")
        self._hello, self._writer = hello, writer
        self._connected.set()
        self._resend()

    def _resend(self) -> None:
        """Bring a router up to date that may have missed anything; only the last message is numbered."""
        if self._synchronized:
            self._number(self._snapshot)
        elif self._published or self._certificates:
            messages: list[Callable[[int], feed.Down]] = [
                partial(_change, app_id, route) for app_id, route in self._published.items()
            ]
            messages += [partial(_certified, name, item) for name, item in self._certificates.items()]
            *earlier, last = messages
            for message in earlier:
                self._send(message(0))
            self._number(last)
        for query, _ in self._drains.values():
            self._send(query)

    def _receive(self, message: feed.Message) -> None:
        match message:
            case feed.Access(lines=lines):
                for line in lines:
                    self._offer(self._access, line)
            case feed.Ack(version=version):
                self._acknowledge(version)
            case feed.Drained(query=query) if query in self._drains:
                _resolve(self._drains[query][1])
            case feed.LastRequests(times=times):
                self._last_requests.update(times)
            case feed.Ejected() | feed.Wake():
                self._offer(self._events, message)
            case feed.Dropped(count=count):
                self._dropped += count
            case _:
                pass

    def _acknowledge(self, version: int) -> None:
        self._acked = max(self._acked, version)
        for future, wanted in self._acks.items():
            if wanted <= self._acked:
                _resolve(future)

    def _offer(self, queue: "asyncio.Queue[T]", item: T) -> None:
        if queue.full():
            queue.get_nowait()
            self._dropped += 1
        queue.put_nowait(item)


def _change(app_id: str, route: AppRoute | None, version: int) -> feed.Down:
    return feed.Remove(version, app_id) if route is None else feed.Change(version, route)


def _certified(name: str, item: Certificate | None, version: int) -> feed.Down:
    return feed.Uncertify(version, name) if item is None else feed.Certify(version, item)


def _resolve(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)
