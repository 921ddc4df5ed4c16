"""Control groups of running build steps: what they use, and limits on them where this process may set any.

BuildKit takes no memory limit through the engine's API. Its steps run in groups of their own, though: below
`docker/buildkit` with the cgroupfs driver, as scopes with BuildKit's 25-character ids with systemd's.
Sources: moby `daemon` and moby/buildkit `executor/oci`; the kernel's cgroup v1 and v2 documentation.
"""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")
_SCOPE = "docker-" + "[0-9a-z]" * 25 + ".scope"
_PLACES: tuple[str, ...] = (
    "memory/docker/buildkit/*",
    "docker/buildkit/*",
    f"memory/system.slice/{_SCOPE}",
    f"system.slice/{_SCOPE}",
)


@dataclass(frozen=True)
class StepGroup:
    """The control group of one running step."""

    path: Path

    @property
    def used_bytes(self) -> int | None:
        """Memory that cannot be reclaimed (no page cache); None when the group has gone."""
        stat = _numbers(self.path / "memory.stat")
        if stat is None:
            return None
        if "anon" in stat:
            return stat["anon"] + stat.get("shmem", 0)
        return stat.get("total_rss", 0) + stat.get("total_shmem", 0)

    @property
    def starved(self) -> bool:
        """Whether a process of the group waits for memory in vain, or was killed for want of it."""
        events = _numbers(self.path / "memory.events") or _numbers(self.path / "memory.oom_control") or {}
        return any(events.get(name, 0) > 0 for name in ("under_oom", "oom", "oom_kill"))

    def commands(self) -> list[str]:
        """Command lines of its processes."""
        found = []
        with contextlib.suppress(OSError):
            for pid in (self.path / "cgroup.procs").read_text().split()[:64]:
                with contextlib.suppress(OSError):
                    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                    found.append(" ".join(b" ".join(arguments).decode(errors="replace").split()))
        return found

    def limit(self, memory_bytes: int, cpu_shares: int) -> bool:
        """Let the kernel hold the limits; False where this process may not set them.

        At the limit the kernel stops or slows processes rather than kill one of them, where it can: a killed compiler
        is only a failed command to what started it, and the reason would be lost.
        """
        if (self.path / "memory.max").exists():
            return self._limit_unified(memory_bytes, cpu_shares)
        _write(MOUNT / "cpu" / self.path.relative_to(MOUNT / "memory") / "cpu.shares", cpu_shares)
        limited = _write(self.path / "memory.limit_in_bytes", memory_bytes)
        _write(self.path / "memory.memsw.limit_in_bytes", memory_bytes)
        _write(self.path / "memory.oom_control", 1)
        return limited

    def _limit_unified(self, memory_bytes: int, cpu_shares: int) -> bool:
        # The same conversion from shares as the OCI runtimes'.
        _write(self.path / "cpu.weight", min(10_000, max(1, 1 + (cpu_shares - 2) * 9999 // 262_142)))
        _write(self.path / "memory.swap.max", 0)
        _write(self.path / "memory.oom.group", 1)
        _write(self.path / "memory.high", memory_bytes)
        return _write(self.path / "memory.max", memory_bytes + memory_bytes // 8)


def step_groups(parent: str | None = None) -> Iterator[StepGroup]:
    """Groups of every step that runs on this machine's engine; `parent` is the engine's own `cgroup-parent`."""
    places = _PLACES
    if parent:
        name = parent.strip("/")
        places += tuple(
            f"{prefix}{name}/{end}" for prefix in ("", "memory/") for end in ("buildkit/*", _SCOPE)
        )
    for place in places:
        for path in MOUNT.glob(place):
            if path.is_dir():
                yield StepGroup(path)


def _numbers(path: Path) -> dict[str, int] | None:
    try:
        pairs = (line.split() for line in path.read_text().splitlines())
        return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdigit()}
    except OSError:
        return None


def _write(path: Path, value: int) -> bool:
    try:
        path.write_text(str(value))
    except OSError:
        return False
    return True
