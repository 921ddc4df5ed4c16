"""The control stream: one JSON object a line, both ways, between control plane, router and workers.

The same messages serve both hops. `version` is the sender's own number: a control plane numbers what it
publishes and gets these numbers back in `Ack`; the router numbers its tables towards its workers likewise.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Final, Literal, NamedTuple

from router.errors import FeedError
from router.table import AppRoute, Certificate, Target

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
    certificates: tuple[Certificate, ...] = ()
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
class Certify:
    """Down: a certificate is new, or replaces the one of its name."""

    version: int
    certificate: Certificate
    type: Literal["certify"] = "certify"


@dataclass(frozen=True, slots=True)
class Uncertify:
    """Down: a certificate is no longer shown."""

    version: int
    name: str
    type: Literal["uncertify"] = "uncertify"


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
    https_port: int = 0
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


@dataclass(frozen=True, slots=True)
class Stats:
    """Up, from a worker: numbers to add up by app, and its present state (see `metrics`)."""

    apps: dict[str, list[int]]
    gauges: dict[str, int]
    type: Literal["stats"] = "stats"


Down = Subscribe | Snapshot | Change | Remove | Certify | Uncertify | Drain | Stop
Up = Hello | Ack | Drained | Access | LastRequests | Ejected | Wake | Dropped | Stats
Message = Down | Up
Event = Ejected | Wake

_MESSAGES: Final[dict[str, type[Message]]] = {
    "subscribe": Subscribe,
    "snapshot": Snapshot,
    "change": Change,
    "remove": Remove,
    "certify": Certify,
    "uncertify": Uncertify,
    "drain": Drain,
    "stop": Stop,
    "hello": Hello,
    "ack": Ack,
    "drained": Drained,
    "access": Access,
    "last": LastRequests,
    "ejected": Ejected,
    "wake": Wake,
    "dropped": Dropped,
    "stats": Stats,
}


def encode(message: Message) -> bytes:
    """Write a message as one line with its newline."""
    return json.dumps(message, default=_plain, separators=(",", ":")).encode() + b"\n"


def encode_access(items: Sequence[bytes]) -> bytes:
    """Write access lines, each of them encoded already, as one `Access` line that starts with their count."""
    return b'%b%d,"lines":[%b]}\n' % (ACCESS_PREFIX, len(items), b",".join(items))


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
        told = json.loads(line)
        kind = _MESSAGES[told.pop("type")]
        return kind(**{name: _READERS[name](value) for name, value in told.items()})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FeedError(f"not a router message: {type(error).__name__}: {error}") from None


def _plain(value: Any) -> dict[str, Any]:
    """Turn a message or a part of one into what JSON knows."""
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _exactly(kind: type) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"{value!r} is not {kind.__name__}")
        return value

    return read


_text, _integer = _exactly(str), _exactly(int)


def _number(value: Any) -> float:
    return float(value if type(value) is float else _integer(value))


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(item) for item in _exactly(list)(value))


def _target(value: Any) -> Target:
    return Target(
        _text(value["instance_id"]), _text(value["name"]), _text(value["host"]), _integer(value["port"])
    )


def _route(value: Any) -> AppRoute:
    if value["state"] not in {"live", "hold", "stopped", "none"}:
        raise ValueError(f"{value['state']!r} is not a route's state")
    return AppRoute(
        _text(value["app_id"]),
        _text(value["app"]),
        _texts(value["hosts"]),
        tuple(_target(item) for item in value["targets"]),
        value["state"],
        _exactly(bool)(value.get("https_only", False)),
    )


def _certificate(value: Any) -> Certificate:
    return Certificate(
        _text(value["name"]), _texts(value["hosts"]), _text(value["chain"]), _text(value["key"])
    )


_READERS: Final[dict[str, Callable[[Any], Any]]] = {
    "app_id": _text,
    "apps": lambda value: {_text(key): [_integer(item) for item in items] for key, items in value.items()},
    "certificate": _certificate,
    "certificates": lambda value: tuple(_certificate(item) for item in value),
    "collect": _exactly(bool),
    "count": _integer,
    "gauges": lambda value: {_text(key): _integer(item) for key, item in value.items()},
    "http_port": _integer,
    "https_port": _integer,
    "instance_id": _text,
    "instance_ids": _texts,
    "name": _text,
    "lines": lambda value: tuple(AccessLine(_text(a), _number(b), _text(c)) for a, b, c in value),
    "pid": _integer,
    "protocol": _integer,
    "query": _integer,
    "reason": _text,
    "route": _route,
    "routes": lambda value: tuple(_route(item) for item in value),
    "seconds": _number,
    "time": _number,
    "times": lambda value: {_text(key): _number(when) for key, when in value.items()},
    "version": _integer,
    "workers": _integer,
}
