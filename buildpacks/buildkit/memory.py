"""Holds builds to their memory limit, which the engine itself does not.

Each running step's control group is found and, where this process may, limited by the kernel (each step on its own).
Beside that the sum over a build's steps is measured ten times a second, and the build is ended when it is over.
The engine does not say which group belongs to which step, so a group belongs to the step whose command runs in it, or,
where commands do not tell, to the one that started when the group appeared.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from buildpacks.buildkit.cgroups import StepGroup, step_groups
from buildpacks.buildkit.progress import RunningStep
from buildpacks.ports import BuildLimits

_POLL_SECONDS = 0.1
_COMMANDS_TELL_SECONDS = 0.5
_SAME_START_SECONDS = 2.0
_COMPARED_CHARS = 100


class GroupRegistry:
    """Groups that builds of this process have taken for their own. One for each engine."""

    def __init__(self, parent: str | None = None) -> None:
        self._parent = parent
        self._first_seen: dict[StepGroup, float] = {}
        self.taken: set[StepGroup] = set()

    def free(self) -> list[tuple[StepGroup, float]]:
        """Groups without a build, and when each was first seen (seconds since the epoch)."""
        now = time.time()
        present = set(step_groups(self._parent))
        self._first_seen = {group: self._first_seen.get(group, now) for group in present}
        self.taken &= present
        return [(group, seen) for group, seen in self._first_seen.items() if group not in self.taken]


@dataclass
class MemoryWatch:
    """Watches one build. `running` gives its steps of now."""

    registry: GroupRegistry
    limits: BuildLimits
    running: Callable[[], Sequence[RunningStep]]
    _groups: dict[StepGroup, RunningStep] = field(default_factory=dict)

    async def exceeded(self) -> str:
        """Return, once the build is over its limit, the title of its largest step. Waits for ever otherwise."""
        while True:
            if self.running():
                self._find()
                if title := self._over_limit():
                    return title
            await asyncio.sleep(_POLL_SECONDS)

    def _find(self) -> None:
        for group, seen in self.registry.free():
            if step := self._owner(group, seen):
                self.registry.taken.add(group)
                self._groups[group] = step
                group.limit(self.limits.memory_bytes, self.limits.cpu_shares)

    def _owner(self, group: StepGroup, seen: float) -> RunningStep | None:
        steps = [step for step in self.running() if step not in self._groups.values()]
        commands = group.commands() if steps else []
        for step in steps:
            compared = step.command[:_COMPARED_CHARS]
            if compared and any(compared in command for command in commands):
                return step
        if time.time() - seen < _COMMANDS_TELL_SECONDS:
            return None
        near = [step for step in steps if abs(seen - step.started) < _SAME_START_SECONDS]
        return min(near, key=lambda step: abs(seen - step.started), default=None)

    def _over_limit(self) -> str:
        used = {group: size for group in self._groups if (size := group.used_bytes) is not None}
        starved = [group for group in used if group.starved]
        self._groups = {group: self._groups[group] for group in used}
        if sum(used.values()) > self.limits.memory_bytes:
            starved.append(max(used, key=lambda group: used[group]))
        return self._groups[starved[0]].title if starved else ""
