"""What a container uses, read from the kernel's control groups, versions 1 and 2.

The engine's own numbers come from the same files, a second later, and not on every kernel.
"""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.ports import Usage

ROOT = Path("/sys/fs/cgroup")
BETWEEN_LOOKS = 0.25
"""Seconds."""
UNLIMITED = 1 << 60
"""Version 1 writes a huge number for no limit."""


@dataclass(frozen=True)
class Sample:
    """One look: processor seconds used so far, and bytes of memory now."""

    at: float
    processor_seconds: float
    memory_bytes: int
    memory_limit: int


async def measure(pids: Mapping[str, int]) -> Mapping[str, Usage]:
    """Look twice at containers, given by the first process of each; those that cannot be read are left out."""
    before = {name: sample(pid) for name, pid in pids.items()}
    if any(before.values()):
        await asyncio.sleep(BETWEEN_LOOKS)
    after = {name: sample(pids[name]) for name, first in before.items() if first is not None}
    return {
        name: usage(first, second)
        for name, first in before.items()
        if first is not None and (second := after[name]) is not None
    }


def usage(before: Sample, after: Sample) -> Usage:
    """Two looks as a usage."""
    elapsed = max(after.at - before.at, 1e-3)
    used = max(0.0, after.processor_seconds - before.processor_seconds)
    return Usage(after.memory_bytes, after.memory_limit, used / elapsed)


def sample(pid: int, proc: Path = Path("/proc"), root: Path = ROOT) -> Sample | None:
    """Look at the groups of a container's first process; None when it is gone or they cannot be read."""
    try:
        groups = _groups((proc / str(pid) / "cgroup").read_text(), root)
        if "memory" in groups and "cpuacct" in groups:
            return _version_1(groups["memory"], groups["cpuacct"])
        return _version_2(groups[""])
    except (OSError, ValueError, KeyError):
        return None


def _groups(text: str, root: Path) -> dict[str, Path]:
    """Controller to directory; version 2 has the empty name. Lines are `4:cpu,cpuacct:/docker/…`."""
    found: dict[str, Path] = {}
    for line in text.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):
            found[name] = root / names / path.lstrip("/")
    return found


def _version_1(memory: Path, processor: Path) -> Sample:
    stat = _pairs(memory / "memory.stat")
    limit = _number(memory / "memory.limit_in_bytes")
    return Sample(
        at=time.monotonic(),
        processor_seconds=_number(processor / "cpuacct.usage") / 1e9,
        memory_bytes=max(0, _number(memory / "memory.usage_in_bytes") - stat.get("total_inactive_file", 0)),
        memory_limit=limit if limit < UNLIMITED else 0,
    )


def _version_2(group: Path) -> Sample:
    stat = _pairs(group / "memory.stat")
    limit = (group / "memory.max").read_text().strip()
    return Sample(
        at=time.monotonic(),
        processor_seconds=_pairs(group / "cpu.stat")["usage_usec"] / 1e6,
        memory_bytes=max(0, _number(group / "memory.current") - stat.get("inactive_file", 0)),
        memory_limit=int(limit) if limit != "max" else 0,
    )


def _number(path: Path) -> int:
    return int(path.read_text())


def _pairs(path: Path) -> dict[str, int]:
    words = (line.split() for line in path.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in words if len(pair) == 2}
