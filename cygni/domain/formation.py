"""How many of each process type run."""

from collections.abc import Iterable, Mapping

from cygni.domain.models import ProcessType


def effective(processes: Iterable[ProcessType], stored: Mapping[str, int]) -> dict[str, int]:
    """What `ps:scale` shows: what was asked for, else one `web` and none of the others."""
    return {p.name: stored.get(p.name, 1 if p.name == "web" else 0) for p in processes}
