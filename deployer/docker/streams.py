"""The engine's long answers (waits, logs, events) on the event loop: none of them costs a thread."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import aiohttp

from deployer.docker.absence import no_answer
from deployer.docker.containers import ONE_OFF, moment
from deployer.ports import EngineError, Event, LogLine

_FRAME = 8
_NO_LIMIT = aiohttp.ClientTimeout(total=None, sock_connect=10)
_EVENTS = ("start", "die", "oom", "destroy")


class Streams:
    """Follows one engine over its Unix socket."""

    def __init__(self, socket: Path, server: str) -> None:
        self._socket = socket
        self._server = server
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def wait(self, container_id: str) -> int | None:
        """Return the container's exit code when it does not run, None when it is gone.

        Raises:
            EngineError: the connection broke.
        """
        async with self._request("POST", f"/containers/{container_id}/wait", {}) as answer:
            found = await answer.json()
        return int(found["StatusCode"]) if answer.status == 200 else None

    async def exit_code(self, container_id: str, since: datetime) -> int | None:
        """As `wait`, for a container started after `since`, and sooner.

        The engine announces the end of a process at once, and answers `wait` after it has taken the container's
        network down. It keeps its last 256 events only, so both are asked.
        """
        both = [
            asyncio.create_task(self._death(container_id, since)),
            asyncio.create_task(self.wait(container_id)),
        ]
        try:
            done, _ = await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)

    async def _death(self, container_id: str, since: datetime) -> int:
        filters = {"type": ["container"], "event": ["die"], "container": [container_id]}
        parameters = {"filters": json.dumps(filters), "since": f"{since.timestamp():.9f}"}
        async with self._request("GET", "/events", parameters) as answer:
            async for line in answer.content:
                return int(json.loads(line)["Actor"]["Attributes"]["exitCode"])
        raise EngineError("the engine's events broke off", transient=True)

    async def has_file(self, container_id: str, path: str) -> bool:
        """Whether a container, running or not, has a file or link of this path.

        Raises:
            EngineError: the connection broke.
        """
        async with self._request("HEAD", f"/containers/{container_id}/archive", {"path": path}) as answer:
            return answer.status == 200

    async def logs(self, container_id: str, parameters: dict[str, str]) -> AsyncGenerator[LogLine, None]:
        """Lines of both streams with their time stamps.

        Raises:
            EngineError: the connection broke.
        """
        wanted = {"stdout": "1", "stderr": "1", "timestamps": "1", **parameters}
        async with self._request("GET", f"/containers/{container_id}/logs", wanted) as answer:
            if answer.status != 200:
                return
            rest = {1: b"", 2: b""}
            while frame := await _frame(answer.content):
                kind, data = frame
                *lines, rest[kind] = (rest[kind] + data).split(b"\n")
                for line in lines:
                    yield _line(kind, line)
            for kind, data in rest.items():
                if data:
                    yield _line(kind, data)

    def events(self) -> AsyncGenerator[Event, None]:
        """Events of this server's containers from now on; the engine repeats what comes before the first look.

        Raises:
            EngineError: the stream broke.
        """
        return self._events(datetime.now(UTC))

    async def _events(self, since: datetime) -> AsyncGenerator[Event, None]:
        filters = {"type": ["container"], "event": list(_EVENTS), "label": [f"cygni.server={self._server}"]}
        parameters = {"filters": json.dumps(filters), "since": f"{since.timestamp():.6f}"}
        async with self._request("GET", "/events", parameters) as answer:
            async for line in answer.content:
                if (event := _event(json.loads(line))) is not None:
                    yield event
        raise EngineError("the engine's events broke off", transient=True)

    @asynccontextmanager
    async def _request(
        self, method: str, path: str, parameters: dict[str, str]
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        if self._session is None:
            connector = aiohttp.UnixConnector(str(self._socket), limit=0)
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=_NO_LIMIT, read_bufsize=1 << 18
            )
        try:
            async with self._session.request(method, f"http://engine{path}", params=parameters) as answer:
                yield answer
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise EngineError(no_answer(error), transient=True) from error


async def _frame(content: aiohttp.StreamReader) -> tuple[int, bytes] | None:
    """One frame of a multiplexed stream: a type byte, three zeros, the size, the data (Engine API, attach)."""
    try:
        header = await content.readexactly(_FRAME)
        data = await content.readexactly(int.from_bytes(header[4:], "big"))
    except EOFError:
        return None
    return (2 if header[0] == 2 else 1), data


def _line(kind: int, data: bytes) -> LogLine:
    stamp, _, text = data.partition(b" ")
    try:
        at = moment(stamp.decode())
    except ValueError:
        at, text = None, data
    stream: Literal["stdout", "stderr"] = "stderr" if kind == 2 else "stdout"
    return LogLine(at or datetime.now(UTC), stream, text.rstrip(b"\r").decode(errors="replace"))


def _event(data: dict[str, Any]) -> Event | None:
    attributes = data["Actor"]["Attributes"]
    if ONE_OFF in attributes or "cygni.process" not in attributes:
        return None
    code = attributes.get("exitCode")
    return Event(
        instance_id=data["Actor"]["ID"],
        kind=data["Action"],
        at=datetime.fromtimestamp(data["timeNano"] / 1e9, UTC),
        exit_code=int(code) if code is not None else None,
        app_id=attributes.get("cygni.app-id", ""),
    )
