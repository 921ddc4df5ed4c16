"""One look at an instance from outside: does it accept, does it answer.

A TCP connect, then (with a health path) one HTTP/1.1 GET whose status line is read, RFC 9112 section 4.
"""

import asyncio
import re
from dataclasses import dataclass
from urllib.parse import quote

from deployer.manifest import Health
from deployer.ports import Address

STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r|\n|$)")
STATUS_LINE_LIMIT = 4096
PATH_CHARACTERS = "/%?&=:@!$'()*+,;~-._[]"
"""What a request target keeps as it is; anything else (a line break, a space) is percent-encoded."""


@dataclass(frozen=True)
class Probe:
    """What one look saw. `text` is for people: `GET /up answered 500`."""

    ready: bool
    accepted: bool
    text: str


async def probe(address: Address, health: Health) -> Probe:
    """Look once; takes at most `health.probe_timeout` seconds and never raises for what it finds."""
    try:
        async with asyncio.timeout(health.probe_timeout):
            return await _connect(address, health)
    except TimeoutError:
        return Probe(ready=False, accepted=False, text=f"no connection within {health.probe_timeout:g} s")
    except OSError as error:
        return Probe(ready=False, accepted=False, text=_reason(error))


async def greet(address: Address, health: Health, patience: float) -> Probe:
    """The look at a booting instance without a health path: it accepts, and answers a first request.

    Servers that bind before they load the app (gunicorn is one) accept while the app is failing; then they end, or
    start the app again and again. Any answer counts, of whatever status. A first page may be slow, so the answer is
    awaited for `patience` seconds; connecting takes at most `health.probe_timeout`.
    """
    try:
        async with asyncio.timeout(min(health.probe_timeout, patience)):
            reader, writer = await asyncio.open_connection(
                address.host, address.port, limit=STATUS_LINE_LIMIT
            )
    except TimeoutError:
        return Probe(ready=False, accepted=False, text=f"no connection within {health.probe_timeout:g} s")
    except OSError as error:
        return Probe(ready=False, accepted=False, text=_reason(error))
    try:
        writer.write(_request(health, "/"))
        async with asyncio.timeout(patience):
            answered = await reader.read(1)
    except TimeoutError:
        return Probe(
            ready=False, accepted=True, text=f"port {address.port} accepts, but GET / was not answered"
        )
    except OSError:
        answered = b""
    finally:
        writer.transport.abort()
    if answered:
        return Probe(ready=True, accepted=True, text=f"port {address.port} answers")
    return Probe(ready=False, accepted=True, text="GET /: the connection was closed without an answer")


async def _connect(address: Address, health: Health) -> Probe:
    reader, writer = await asyncio.open_connection(address.host, address.port, limit=STATUS_LINE_LIMIT)
    try:
        if health.path is None:
            return Probe(ready=True, accepted=True, text=f"port {address.port} accepts")
        return await _get(reader, writer, health, health.path)
    finally:
        # A probe holds nothing worth flushing; abort frees the socket without a linger on either side.
        writer.transport.abort()


async def _get(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, health: Health, path: str
) -> Probe:
    try:
        async with asyncio.timeout(health.probe_timeout * 0.9):
            writer.write(_request(health, path))
            return _judge(path, await reader.readline())
    except TimeoutError:
        return Probe(
            ready=False, accepted=True, text=f"GET {path} had no answer within {health.probe_timeout:g} s"
        )
    except (OSError, ValueError):
        return Probe(ready=False, accepted=True, text=f"GET {path}: the connection broke before an answer")


def _request(health: Health, path: str) -> bytes:
    head = f"GET {quote(path, safe=PATH_CHARACTERS)} HTTP/1.1\r\nHost: {health.host}\r\nUser-Agent: cygni-health\r\n"
    return f"{head}Accept: */*\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n".encode()


def _judge(path: str, line: bytes) -> Probe:
    match = STATUS_LINE.match(line)
    if not match:
        what = "something that is not HTTP" if line else "nothing"
        return Probe(ready=False, accepted=True, text=f"GET {path} answered {what}")
    status = int(match[1])
    return Probe(ready=200 <= status < 400, accepted=True, text=f"GET {path} answered {status}")


def _reason(error: OSError) -> str:
    return (
        "connection refused" if isinstance(error, ConnectionRefusedError) else (error.strerror or "no route")
    )
