"""The control stream: one JSON object a line, both ways, between control plane, router and workers.

The same messages serve both hops. `version` is the sender's own number: a control plane numbers what it
publishes and gets these numbers back in `Ack`; the router numbers its tables towards its workers likewise.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from router.errors import FeedError
from router.table import AppRoute

PROTOCOL: Final = 1
LINE_LIMIT: Final = 64 << 20
"""Bytes of the longest line: a snapshot of some hundred thousand routes."""
ACCESS_PREFIX: Final = b'{"type":"access","count":'


class AccessLine(NamedTuple):
    """One request, as Heroku's router logs it."""

    app_id: str
    time: float
    """Unix time of the request's end."""
    text: str


@dataclass(frozen=True, slots=True)
class Subscribe:
    """Down: a client's first line. `collect` asks for access lines, which go to the newest collector."""

    protocol: int = PROTOCOL
    collect: bool = True
    type: Literal["subscribe"] = "subscribe"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Down: the whole table."""

    version: int
    routes: tuple[AppRoute, ...]
    type: Literal["snapshot"] = "snapshot"


@dataclass(frozen=True, slots=True)
class Change:
    """Down: one app's route."""

    version: int
    route: AppRoute
    type: Literal["change"] = "change"


@dataclass(frozen=True, slots=True)
class Remove:
    """Down: an app is gone."""

    version: int
    app_id: str
    type: Literal["remove"] = "remove"


@dataclass(frozen=True, slots=True)
class Drain:
    """Down: say `Drained` once no request is in flight to these instances in any worker."""

    query: int
    app_id: str
    instance_ids: tuple[str, ...]
    type: Literal["drain"] = "drain"


@dataclass(frozen=True, slots=True)
class Stop:
    """Down, to a worker: accept no more, finish what runs, exit."""

    type: Literal["stop"] = "stop"


@dataclass(frozen=True, slots=True)
class Hello:
    """Up: a router's first line. `version` is its table's own number."""

    version: int
    http_port: int
    workers: int
    pid: int
    protocol: int = PROTOCOL
    type: Literal["hello"] = "hello"


@dataclass(frozen=True, slots=True)
class Ack:
    """Up: everything up to `version` is saved and applied in every live worker."""

    version: int
    type: Literal["ack"] = "ack"


@dataclass(frozen=True, slots=True)
class Drained:
    """Up: the answer to `Drain`."""

    query: int
    app_id: str
    instance_ids: tuple[str, ...]
    type: Literal["drained"] = "drained"


@dataclass(frozen=True, slots=True)
class Access:
    """Up: access lines. Written by `encode_access` so that a relay need not parse them."""

    count: int
    lines: tuple[AccessLine, ...]
    type: Literal["access"] = "access"


@dataclass(frozen=True, slots=True)
class LastRequests:
    """Up: Unix time of the newest request of each app that had one."""

    times: dict[str, float]
    type: Literal["last"] = "last"


@dataclass(frozen=True, slots=True)
class Ejected:
    """Up: an instance refused connections and is left alone for `seconds`."""

    app_id: str
    instance_id: str
    reason: str
    seconds: float
    time: float
    type: Literal["ejected"] = "ejected"


@dataclass(frozen=True, slots=True)
class Wake:
    """Up: a request waits for an app whose route is on hold."""

    app_id: str
    time: float
    type: Literal["wake"] = "wake"


@dataclass(frozen=True, slots=True)
class Dropped:
    """Up: so many access lines or events were lost since the last such message."""

    count: int
    type: Literal["dropped"] = "dropped"


Down = Subscribe | Snapshot | Change | Remove | Drain | Stop
Up = Hello | Ack | Drained | Access | LastRequests | Ejected | Wake | Dropped
Message = Down | Up
Event = Ejected | Wake

_ADAPTER: Final[TypeAdapter[Message]] = TypeAdapter(Annotated[Message, Field(discriminator="type")])


def encode(message: Message) -> bytes:
    """Write a message as one line with its newline."""
    return _ADAPTER.dump_json(message) + b"\n"


def encode_access(lines: Sequence[AccessLine]) -> bytes:
    """Write access lines as one `Access` line that starts with their count."""
    body = json.dumps(lines, separators=(",", ":")).encode()
    return b'%b%d,"lines":%b}\n' % (ACCESS_PREFIX, len(lines), body)


def access_count(line: bytes) -> int | None:
    """Return how many lines an encoded `Access` carries without parsing it; None for another message."""
    if not line.startswith(ACCESS_PREFIX):
        return None
    digits = line[len(ACCESS_PREFIX) : len(ACCESS_PREFIX) + 12].partition(b",")[0]
    return int(digits) if digits.isdigit() else None


def decode(line: bytes) -> Message:
    """Read one line.

    Raises:
        FeedError: it is not a message of this protocol version.
    """
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        raise FeedError(f"not a router message: {error.errors()[0]['msg']}") from None
