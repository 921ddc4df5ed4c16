"""A build session: the engine calls back over the connection that asked for it, and we serve.

Source: Docker Engine API `POST /session` (an upgrade to h2c; the headers name what is served) and gRPC over HTTP/2.
HTTP/2 is grpclib's; its protocol layer is used directly, because the file transfer packs many messages into one write.
"""

import asyncio
import contextlib
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from grpclib.config import Configuration
from grpclib.const import Status
from grpclib.exceptions import StreamTerminatedError
from grpclib.protocol import AbstractHandler, H2Protocol, Stream
from h2.config import H2Configuration
from h2.exceptions import H2Error

from buildpacks.buildkit.client import EngineUnavailableError
from buildpacks.buildkit.messages import GetSecretRequest, GetSecretResponse, HealthCheckResponse

_HEAD_BYTES = 16 << 10
_HANDSHAKE_SECONDS = 10.0
_MESSAGE_BYTES = 4 << 20
_CALLS_AT_ONCE = 32
_SERVING = 1
GET_SECRET = "/moby.buildkit.secrets.v1.Secrets/GetSecret"  # noqa: S105 - a method's name
HEALTH_CHECK = "/grpc.health.v1.Health/Check"
DIFF_COPY = "/moby.filesync.v1.FileSync/DiffCopy"

Method = Callable[["Call"], Awaitable[None]]


class NotFoundError(Exception):
    """What the engine asked for is not there; it is told so."""


def framed(message: Any) -> bytes:
    """A message as gRPC sends it: not compressed, length first."""
    data: bytes = message.SerializeToString()
    return struct.pack(">BI", 0, len(data)) + data


def first_error(error: BaseException) -> BaseException:
    """The first error of a group of tasks, which is why the others were cancelled."""
    return first_error(error.exceptions[0]) if isinstance(error, BaseExceptionGroup) else error


class Call:
    """One call of the engine: its metadata, an iterator over its messages, a way to answer."""

    def __init__(self, stream: Stream, headers: Any) -> None:
        self._stream = stream
        self._metadata = [(str(name), str(value)) for name, value in headers]

    def values(self, name: str) -> list[str]:
        """Every value of a metadata key."""
        return [value for key, value in self._metadata if key == name]

    def value(self, name: str) -> str:
        """The first value of a metadata key, empty when there is none."""
        return next(iter(self.values(name)), "")

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._messages()

    async def _messages(self) -> AsyncIterator[bytes]:
        while head := await self._stream.recv_data(5):
            compressed, length = struct.unpack(">BI", head)
            if compressed or length > _MESSAGE_BYTES:
                raise ValueError(f"a message of {length} bytes, compressed {compressed}")
            yield await self._stream.recv_data(length)

    async def begin(self) -> None:
        """Say that an answer is coming."""
        await self._stream.send_headers([(":status", "200"), ("content-type", "application/grpc+proto")])

    async def write(self, frames: bytes) -> None:
        """Send messages made by `framed`; waits while the engine does not read."""
        await self._stream.send_data(frames)


async def secret_method(call: Call, values: Mapping[str, bytes]) -> None:
    """`Secrets/GetSecret`."""
    async for data in call:
        name = GetSecretRequest.FromString(data).id
        if name not in values:
            raise NotFoundError(f"secret {name} not found")
        await call.write(framed(GetSecretResponse(data=values[name])))
        return


async def health_method(call: Call) -> None:
    """`Health/Check`: the engine drops a session that does not answer it."""
    await call.write(framed(HealthCheckResponse(status=_SERVING)))


class Session:
    """An open session; `id` goes into the build's query. Close it to end whatever the engine still asks."""

    def __init__(self, handler: "_Handler", transport: asyncio.Transport) -> None:
        self.id = handler.id
        self._handler = handler
        self._transport = transport

    @property
    def failure(self) -> BaseException | None:
        """The first error that a method of ours ended with, other than `NotFoundError`."""
        return self._handler.failure

    async def close(self) -> None:
        """Hang up and wait until every call has ended."""
        self._transport.abort()
        self._handler.close()
        await self._handler.wait_closed()


async def open_session(
    path: Path, version: str, methods: Mapping[str, Method], *, shared_key: str
) -> Session:
    """Open a session on the engine's socket. `shared_key` names the context that later builds may build upon.

    Raises:
        EngineUnavailableError: the engine does not answer as it should within ten seconds.
    """
    handler = _Handler(methods)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            early = await _upgrade(sock, path, _request(version, handler.id, methods, shared_key))
            loop = asyncio.get_running_loop()
            transport, _ = await loop.connect_accepted_socket(lambda: _primed_protocol(handler, early), sock)
    except (OSError, TimeoutError) as error:
        sock.close()
        raise EngineUnavailableError(f"The Docker engine on {path} opened no session: {error!r}") from error
    except BaseException:
        sock.close()
        raise
    return Session(handler, transport)


def _request(version: str, session_id: str, methods: Mapping[str, Method], shared_key: str) -> bytes:
    lines = [
        f"POST /v{version}/session HTTP/1.1",
        "Host: engine",
        "Connection: Upgrade",
        "Upgrade: h2c",
        f"X-Docker-Expose-Session-Uuid: {session_id}",
        "X-Docker-Expose-Session-Name: cygni",
        f"X-Docker-Expose-Session-Sharedkey: {shared_key}",
        *(f"X-Docker-Expose-Session-Grpc-Method: {method}" for method in methods),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("ascii")


async def _upgrade(sock: socket.socket, path: Path, request: bytes) -> bytes:
    """Send the request and read the answer's head; returns what came after it."""
    loop = asyncio.get_running_loop()
    await loop.sock_connect(sock, str(path))
    await loop.sock_sendall(sock, request)
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = await loop.sock_recv(sock, 4096)
        received += chunk
        if not chunk or len(received) > _HEAD_BYTES:
            raise ConnectionError(f"it answered {received[:200]!r}")
    head, _, rest = received.partition(b"\r\n\r\n")
    if b" 101 " not in head.splitlines()[0]:
        raise ConnectionError(f"it answered {head[:200]!r}")
    return rest


class _PrimedProtocol(H2Protocol):
    """HTTP/2 on a connection of which some bytes were already read."""

    early = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if self.early:
            self.data_received(self.early)


def _primed_protocol(handler: "_Handler", early: bytes) -> _PrimedProtocol:
    config = H2Configuration(
        client_side=False,
        header_encoding="utf-8",
        validate_inbound_headers=False,
        validate_outbound_headers=False,
        normalize_inbound_headers=False,
        normalize_outbound_headers=False,
    )
    protocol = _PrimedProtocol(handler, Configuration().__for_server__(), config)
    protocol.early = early
    return protocol


class _Handler(AbstractHandler):
    """Runs one task a call."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self.id = secrets.token_hex(16)
        self.failure: BaseException | None = None
        self._methods = methods
        self._tasks: dict[Stream, asyncio.Task[None]] = {}

    def accept(self, stream: Stream, headers: Any, release_stream: Callable[[], None]) -> None:
        """Start serving a call."""
        task = asyncio.create_task(self._serve(stream, headers))
        self._tasks[stream] = task
        task.add_done_callback(lambda _: self._release(stream, release_stream))

    def cancel(self, stream: Stream) -> None:
        """The engine has reset a call."""
        if task := self._tasks.get(stream):
            task.cancel()

    def close(self) -> None:
        """The connection is gone."""
        for task in self._tasks.values():
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait for every call's end."""
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    def _release(self, stream: Stream, release_stream: Callable[[], None]) -> None:
        self._tasks.pop(stream, None)
        with contextlib.suppress(KeyError):
            release_stream()

    async def _serve(self, stream: Stream, headers: Any) -> None:
        call = Call(stream, headers)
        try:
            status, message = await self._run(call)
            await stream.send_headers(
                [("grpc-status", str(status.value)), ("grpc-message", message)], end_stream=True
            )
        except (H2Error, StreamTerminatedError, OSError):
            return  # The engine no longer waits for the answer: its own error tells why.

    async def _run(self, call: Call) -> tuple[Status, str]:
        method = self._methods.get(call.value(":path"))
        await call.begin()
        if method is None or len(self._tasks) > _CALLS_AT_ONCE:
            return Status.UNIMPLEMENTED, "not served"
        try:
            await method(call)
        except Exception as group:  # noqa: BLE001 - told to the engine and kept for the build's owner
            return self._refused(first_error(group))
        return Status.OK, ""

    def _refused(self, error: BaseException) -> tuple[Status, str]:
        if isinstance(error, H2Error | StreamTerminatedError):
            raise error
        if isinstance(error, NotFoundError):
            return Status.NOT_FOUND, str(error)
        self.failure = self.failure or error
        return Status.INTERNAL, type(error).__name__
