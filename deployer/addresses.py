"""Static addresses on our bridge: given out in rotation, and not again until every router forgot them."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Network

from deployer.ports import EngineError

_RESERVED = 10
"""The network's first addresses: the gateway, and room for what an operator attaches."""


class AddressPool:
    """Which addresses of a network are in use, by container id, or wait to be reclaimed, by app."""

    def __init__(self, network: IPv4Network) -> None:
        self._network = network
        self._next = _RESERVED
        self._used: dict[str, str] = {}
        self._resting: defaultdict[str, set[str]] = defaultdict(set)
        self._taken: set[str] = set()
        """Used or resting; kept, not computed, because thousands of instances ask."""

    def take(self) -> str:
        """Return a free address, as far as possible from the ones given out last.

        Raises:
            EngineError: all are in use.
        """
        for address in self._rotation():
            if address not in self._taken:
                return address
        raise EngineError(f"no address is left in {self._network}; set CYGNI_NETWORK to a larger one")

    def _rotation(self) -> Iterator[str]:
        count = self._network.num_addresses - 1 - _RESERVED
        for _ in range(max(count, 0)):
            offset = self._next
            self._next = offset + 1 if offset + 1 < self._network.num_addresses - 1 else _RESERVED
            yield str(self._network[offset])

    def assign(self, container_id: str, address: str) -> None:
        """Remember that a container has this address."""
        self._used[container_id] = address
        self._taken.add(address)

    def rest(self, container_id: str, app_id: str) -> None:
        """A container is gone; its address rests until the app's are reclaimed."""
        address = self._used.pop(container_id, None)
        if address is not None:
            self._resting[app_id].add(address)

    def release(self, container_id: str) -> None:
        """A container is gone that no router ever knew."""
        address = self._used.pop(container_id, None)
        if address is not None:
            self._taken.discard(address)

    def reclaim(self, app_id: str) -> None:
        """No router knows the app's resting addresses any more."""
        self._taken -= self._resting.pop(app_id, set())

    def known(self, addresses: Iterable[tuple[str, str]]) -> None:
        """Learn what containers of an earlier process have: `(container id, address)`."""
        for container_id, address in addresses:
            self.assign(container_id, address)
