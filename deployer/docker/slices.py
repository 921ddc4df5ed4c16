"""Which control group an engine puts containers into."""

from typing import Any


class Slice:
    """A systemd slice for containers; None leaves them where the engine puts them by itself."""

    def __init__(self, unit: str | None) -> None:
        self._unit = unit
        self._parent: str | None = None

    def parent(self, api: Any) -> str | None:
        """What the engine is told. Asks it for its driver the first time."""
        if self._unit is not None and self._parent is None:
            self._parent = cgroup_parent(self._unit, api.info()["CgroupDriver"])
        return self._parent


def cgroup_parent(unit: str, driver: str) -> str:
    """A systemd slice as the engine's driver wants it: by name, or as the path that systemd gives it."""
    if driver == "systemd":
        return unit
    parts = unit.removesuffix(".slice").split("-")
    return "".join("/" + "-".join(parts[: number + 1]) + ".slice" for number in range(len(parts)))
