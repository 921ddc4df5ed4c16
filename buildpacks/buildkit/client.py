"""Calls to the Docker engine over its Unix socket.

Source: Docker Engine API v1.41. One `EngineClient` is one connection pool; the API version is asked for once.
"""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

DEFAULT_SOCKET = Path("/var/run/docker.sock")
_OLDEST = (1, 39)  # the first with BuildKit as `version=2` of a build
_NEWEST = (1, 44)  # the newest whose answers were read, and the oldest that Docker 29 speaks
_CONNECT_SECONDS = 5.0
_CALL_SECONDS = 60.0
_ERROR_BYTES = 64 << 10


class EngineUnavailableError(Exception):
    """No engine answers on the socket, or one that is too old. The text says what to do."""


class EngineRequestError(Exception):
    """The engine refused a call; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class EngineClient:
    """HTTP calls to one engine. Close it, or use it as an asynchronous context manager."""

    def __init__(self, socket: Path | str = DEFAULT_SOCKET) -> None:
        self.socket = Path(str(socket).removeprefix("unix://"))
        self._session: aiohttp.ClientSession | None = None
        self._version: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def check(self) -> str:
        """The API version both sides speak, such as `1.41`.

        Raises:
            EngineUnavailableError: nobody answers, permission is missing, or the engine is too old for BuildKit.
        """
        if self._version is None:
            self._version = await self._negotiate()
        return self._version

    @asynccontextmanager
    async def request(
        self, method: str, path: str, *, timeout: float | None = _CALL_SECONDS, **arguments: Any
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """One call; the body is read by the caller. `timeout` is in seconds for the whole call, None for no limit.

        Raises:
            EngineUnavailableError: no engine answers, or it goes away while the body is read.
            EngineRequestError: it answered with an error status.
        """
        version = await self.check()
        limit = aiohttp.ClientTimeout(total=timeout, sock_connect=_CONNECT_SECONDS)
        url = f"http://engine/v{version}{path}"
        try:
            async with self._pool().request(method, url, timeout=limit, **arguments) as response:
                if response.status >= 400:
                    raise EngineRequestError(response.status, await _error_text(response))
                yield response
        except aiohttp.ClientError as error:
            self._version = None
            raise self._unavailable(error) from error

    async def json(
        self,
        method: str,
        path: str,
        params: Mapping[str, str] | None = None,
        *,
        timeout: float = _CALL_SECONDS,
    ) -> Any:
        """One call whose answer is JSON, None when it is empty.

        Raises:
            EngineUnavailableError: no engine answers, or it went away, or took longer than `timeout` seconds.
            EngineRequestError: it answered with an error status.
        """
        try:
            async with self.request(method, path, timeout=timeout, params=params) as response:
                body = await response.read()
        except TimeoutError as error:
            raise self._unavailable(error) from error
        return json.loads(body) if body.strip() else None

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.UnixConnector(path=str(self.socket), limit=0)
            )
        return self._session

    async def _negotiate(self) -> str:
        limit = aiohttp.ClientTimeout(total=_CONNECT_SECONDS)
        try:
            async with self._pool().get("http://engine/_ping", timeout=limit) as response:
                offered = response.headers.get("Api-Version", "")
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            raise self._unavailable(error) from error
        theirs = _parse_version(offered)
        if theirs < _OLDEST:
            raise EngineUnavailableError(
                f"The Docker engine on {self.socket} speaks API {offered or 'unknown'}; "
                f"builds need {_text(_OLDEST)} (Docker 18.09) or newer."
            )
        return _text(min(theirs, _NEWEST))

    def _unavailable(self, error: Exception) -> EngineUnavailableError:
        cause = getattr(error, "os_error", None) or error
        if isinstance(cause, PermissionError):
            advice = "this user may not open it: add the user to the group docker"
        elif isinstance(cause, FileNotFoundError):
            advice = "there is no such socket: is the Docker engine installed and started?"
        elif isinstance(cause, ConnectionRefusedError):
            advice = "nobody listens there: is the Docker engine running?"
        else:
            advice = f"it does not answer ({type(cause).__name__}): is the Docker engine running?"
        return EngineUnavailableError(f"No Docker engine on {self.socket}: {advice}")


def _parse_version(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return (int(major), int(minor)) if major.isdigit() and minor.isdigit() else (0, 0)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


async def _error_text(response: aiohttp.ClientResponse) -> str:
    body = await response.content.read(_ERROR_BYTES)
    try:
        return str(json.loads(body)["message"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace").strip() or f"status {response.status}"
