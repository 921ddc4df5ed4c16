"""The engine's answer to a build: JSON messages, one after the other, some of which carry progress as protobuf.

Source: moby `builder-next`: ids `moby.buildkit.trace` (base64 of a StatusResponse) and `moby.image.id`.
"""

import base64
import json
from collections.abc import AsyncIterable, AsyncIterator
from dataclasses import dataclass
from typing import Any

from buildpacks.buildkit.messages import StatusResponse

MESSAGE_BYTES = 16 << 20


class TraceError(Exception):
    """The engine's answer is not what a build answers."""


@dataclass(frozen=True)
class Vertex:
    """A state of one build step. Times are seconds since the epoch, None for not yet."""

    digest: str
    name: str
    cached: bool
    started: float | None
    completed: float | None
    error: str


@dataclass(frozen=True)
class Output:
    """Bytes that a step printed."""

    vertex: str
    data: bytes
    stream: int = 1
    """1 for standard output, 2 for standard error: a chunk of one may come in the middle of a line of the other."""


@dataclass(frozen=True)
class ImageId:
    """The finished image."""

    id: str


@dataclass(frozen=True)
class BuildError:
    """The engine's last word about a failed build."""

    message: str


Event = Vertex | Output | ImageId | BuildError


async def events(chunks: AsyncIterable[bytes]) -> AsyncIterator[Event]:
    """Decode an answer as it arrives.

    Raises:
        TraceError: a message is longer than `MESSAGE_BYTES`, or is not JSON.
    """
    buffer = bytearray()
    async for chunk in chunks:
        buffer += chunk
        # A message ends with a newline, and JSON has no raw newline inside.
        *lines, rest = bytes(buffer).split(b"\n") if b"\n" in chunk else (bytes(buffer),)
        for line in lines:
            for event in _decode(line):
                yield event
        buffer = bytearray(rest)
        if len(buffer) > MESSAGE_BYTES:
            raise TraceError(f"the engine sent a message of more than {MESSAGE_BYTES} bytes")
    for event in _decode(bytes(buffer)):
        yield event


def _decode(line: bytes) -> list[Event]:
    if not line.strip():
        return []
    try:
        message = json.loads(line)
        return _events(message)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise TraceError(f"the engine sent {line[:80]!r}") from error


def _events(message: dict[str, Any]) -> list[Event]:
    if "error" in message:
        return [BuildError(str(message["error"]))]
    if message.get("id") == "moby.image.id":
        return [ImageId(str(message["aux"]["ID"]))]
    if message.get("id") != "moby.buildkit.trace":
        return []
    status = StatusResponse.FromString(base64.b64decode(message["aux"], validate=True))
    logs: list[Event] = [Output(log.vertex, log.msg, log.stream) for log in status.logs]
    vertexes = [_vertex(vertex) for vertex in status.vertexes]
    # A step's start is told before its output, its end after.
    opened: list[Event] = [vertex for vertex in vertexes if vertex.completed is None]
    return opened + logs + [vertex for vertex in vertexes if vertex.completed is not None]


def _vertex(vertex: Any) -> Vertex:
    return Vertex(
        digest=vertex.digest,
        name=vertex.name,
        cached=vertex.cached,
        started=_seconds(vertex.started) if vertex.HasField("started") else None,
        completed=_seconds(vertex.completed) if vertex.HasField("completed") else None,
        error=vertex.error,
    )


def _seconds(timestamp: Any) -> float:
    return float(timestamp.seconds) + float(timestamp.nanos) / 1e9
