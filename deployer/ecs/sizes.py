"""What Fargate offers: pairs of processor units and memory. Pure."""

from collections.abc import Iterator

from deployer.ecs.errors import SizeError
from deployer.manifest import Resources

UNITS = 1024
"""Processor units of one processor."""
_MIB = 1 << 20


def _gib(first: int, last: int, step: int = 1) -> tuple[int, ...]:
    return tuple(size * 1024 for size in range(first, last + 1, step))


TABLE = {
    256: (512, 1024, 2048),
    512: _gib(1, 4),
    1024: _gib(2, 8),
    2048: _gib(4, 16),
    4096: _gib(8, 30),
    8192: _gib(16, 60, 4),
    16384: _gib(32, 120, 8),
}
"""MiB of memory that go with processor units, as the ECS API documents them."""


def size(resources: Resources) -> tuple[int, int]:
    """Return processor units and MiB; where no processors are asked for, the fewest that go with the memory.

    Raises:
        SizeError: Fargate has no such pair. The nearest that is not smaller is named.
    """
    memory = -(-resources.memory_bytes // _MIB)
    units = round(resources.cpus * UNITS) if resources.cpus else None
    for offered in _pairs():
        if offered[1] == memory and units in {None, offered[0]}:
            return offered
    nearest = _nearest(units or 0, memory)
    asked = f"{memory} MiB" + (f" with {units / UNITS:g} CPU" if units else "")
    offer = f"{nearest[1]} MiB with {nearest[0] / UNITS:g} CPU"
    raise SizeError(f"Fargate does not offer {asked}; the nearest size is {offer}.", nearest)


def _pairs() -> Iterator[tuple[int, int]]:
    return ((units, memory) for units, memories in TABLE.items() for memory in memories)


def _nearest(units: int, memory: int) -> tuple[int, int]:
    enough = [pair for pair in _pairs() if pair[0] >= units and pair[1] >= memory]
    return min(enough, key=lambda pair: (pair[0], pair[1])) if enough else max(_pairs())
