"""What the platform has acknowledged, as its users remember it."""

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Write:
    """A change on its way to some registers. `alone`: no other was under way at any time since it began."""

    values: dict[Hashable, Any]
    alone: dict[Hashable, bool] = field(default_factory=dict)


class Registers:
    """Named values, each with what it may be: exactly the acknowledged one, or any that was on its way meanwhile."""

    def __init__(self, default: Any = None) -> None:
        self._default = default
        self._may_be: dict[Hashable, set[Any]] = {}
        self._open: defaultdict[Hashable, list[Write]] = defaultdict(list)

    def may_be(self, name: Hashable) -> set[Any]:
        return self._may_be.setdefault(name, {self._default})

    def names(self) -> list[Hashable]:
        return list(self._may_be)

    def begin(self, values: dict[Hashable, Any]) -> Write:
        """Somebody asks for these values."""
        write = Write(values)
        for name, value in values.items():
            others = self._open[name]
            write.alone[name] = not others
            for other in others:
                other.alone[name] = False
            others.append(write)
            self.may_be(name).add(value)
        return write

    def acknowledged(self, write: Write) -> None:
        """They have them now."""
        for name, value in write.values.items():
            self._open[name].remove(write)
            if write.alone[name]:
                self._may_be[name] = {value}

    def refused(self, write: Write) -> None:
        """They were told that it failed, or nothing: it happened by now or never will."""
        for name in write.values:
            self._open[name].remove(write)

    def is_alone(self, write: Write, name: Hashable) -> bool:
        return write.alone[name]

    def settle(self, name: Hashable, value: Any) -> None:
        """Nothing is under way; this is what it is."""
        self._may_be[name] = {value}
        self._open.pop(name, None)

    def forget(self, names: Iterable[Hashable]) -> None:
        for name in names:
            self._may_be.pop(name, None)
            self._open.pop(name, None)


@dataclass
class Model:
    """What was acknowledged, by app id."""

    config: Registers = field(default_factory=Registers)
    """By `(app id, name)`: the value, None for none."""
    quantity: Registers = field(default_factory=Registers)
    """By `(app id, process type)`."""
    releases: defaultdict[str, dict[int, str | None]] = field(default_factory=lambda: defaultdict(dict))
    """By app id and version: the commit, None where only the version was told."""
    detached: defaultdict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Commits that were accepted to be built later."""
    leaving: set[str] = field(default_factory=set)
    """Apps that somebody asked to destroy."""
    gone: set[str] = field(default_factory=set)

    def forget(self, app_id: str) -> None:
        for registers in (self.config, self.quantity):
            registers.forget([name for name in registers.names() if name[0] == app_id])  # type: ignore[index]
        self.releases.pop(app_id, None)
        self.detached.pop(app_id, None)
