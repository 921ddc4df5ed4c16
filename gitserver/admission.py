"""Who may start an SSH handshake, and how many: the limits that the SSH library does not have.

Per address a few handshakes run at a time and some more wait their turn; each network has a bucket that
connections which never prove a key drain. All tables are bounded.
"""

import asyncio
import ipaddress
import time
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass

from gitserver.ports import Limits

_WAITING_FACTOR = 4
_MAX_NETWORKS = 4096


def network(address: str) -> str:
    """Return the /24 or /64 that an address belongs to; the text itself for what is no address."""
    try:
        ip = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network((ip, 24 if ip.version == 4 else 64), strict=False))


@dataclass
class _Bucket:
    tokens: float
    filled: float


class FailureBuckets:
    """One token bucket a network, drained by failed logins. Loopback is never refused."""

    def __init__(
        self, burst: float = 120, per_second: float = 2, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()

    def empty(self, address: str) -> bool:
        """Whether the network of this address has failed too often lately."""
        bucket = self._buckets.get(network(address))
        return bucket is not None and not _is_loopback(address) and self._refill(bucket) < 1

    def drain(self, address: str) -> None:
        """Count a login that failed."""
        key = network(address)
        bucket = self._buckets.setdefault(key, _Bucket(self._burst, self._clock()))
        bucket.tokens = max(0.0, self._refill(bucket) - 1)
        self._buckets.move_to_end(key)
        if len(self._buckets) > _MAX_NETWORKS:
            self._buckets.popitem(last=False)

    def _refill(self, bucket: _Bucket) -> float:
        now = self._clock()
        bucket.tokens = min(self._burst, bucket.tokens + (now - bucket.filled) * self._per_second)
        bucket.filled = now
        return bucket.tokens


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Ticket:
    """One connection's place among those that have not logged in yet."""

    def __init__(self, admission: "Admission", address: str) -> None:
        self._admission = admission
        self._address = address
        self._held = True
        self.turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def release(self, *, failed: bool) -> None:
        """Give the place back: the login succeeded or the connection is gone. Further calls do nothing."""
        if self._held:
            self._held = False
            self._admission.release(self, self._address, failed=failed)


class Admission:
    """Counts connections that have not logged in, and connections per key that have."""

    def __init__(self, limits: Limits, buckets: FailureBuckets | None = None) -> None:
        self._limits = limits
        self._buckets = buckets or FailureBuckets()
        self._total = 0
        self._active: Counter[str] = Counter()
        self._waiting: dict[str, deque[Ticket]] = {}
        self._keys: Counter[str] = Counter()

    def enter(self, address: str) -> Ticket | None:
        """Give a new connection a place, None when there is none; it may start once `turn` is done."""
        if self._buckets.empty(address) or self._total >= self._limits.unauthenticated:
            return None
        waiting = self._waiting.get(address, deque())
        if len(waiting) >= _WAITING_FACTOR * self._limits.unauthenticated_per_address:
            return None
        ticket = Ticket(self, address)
        self._total += 1
        if self._active[address] < self._limits.unauthenticated_per_address:
            self._start(ticket, address)
        else:
            self._waiting.setdefault(address, waiting).append(ticket)
        return ticket

    def _start(self, ticket: Ticket, address: str) -> None:
        self._active[address] += 1
        ticket.turn.set_result(None)

    def release(self, ticket: Ticket, address: str, *, failed: bool) -> None:
        """Free the ticket's place and let the next of that address start; called by the ticket."""
        self._total -= 1
        if failed:
            self._buckets.drain(address)
        if ticket.turn.done() and not ticket.turn.cancelled():
            self._active[address] -= 1
            self._next(address)
        else:
            ticket.turn.cancel()
            self._forget(ticket, address)

    def _next(self, address: str) -> None:
        if self._active[address] <= 0:
            del self._active[address]
        if waiting := self._waiting.get(address):
            ticket = waiting.popleft()
            self._start(ticket, address)
        if not self._waiting.get(address):
            self._waiting.pop(address, None)

    def _forget(self, ticket: Ticket, address: str) -> None:
        waiting = self._waiting.get(address)
        if waiting is not None:
            waiting.remove(ticket)
            if not waiting:
                del self._waiting[address]

    def login(self, fingerprint: str) -> bool:
        """Count a connection of this key; False when the key has too many."""
        if self._keys[fingerprint] >= self._limits.connections_per_key:
            return False
        self._keys[fingerprint] += 1
        return True

    def logout(self, fingerprint: str) -> None:
        """Forget a connection of this key."""
        self._keys[fingerprint] -= 1
        if self._keys[fingerprint] <= 0:
            del self._keys[fingerprint]
