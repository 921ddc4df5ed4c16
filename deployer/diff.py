"""What separates what runs from what should run. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deployer.launch import Slot
from deployer.manifest import Manifest
from deployer.ports import Instance


@dataclass(frozen=True)
class Diff:
    """`kept` are the live release's instances, one a slot, in any state; `strangers` is everything else."""

    kept: tuple[Instance, ...]
    missing: tuple[Slot, ...]
    strangers: tuple[Instance, ...]

    @property
    def crashed(self) -> tuple[Instance, ...]:
        """Instances that should run and do not."""
        return tuple(item for item in self.kept if item.state == "exited")

    @property
    def routed(self) -> tuple[Instance, ...]:
        """Running instances with a verified address."""
        return tuple(item for item in self.kept if item.state == "running" and item.address is not None)


def compare(
    manifest: Manifest | None, observed: Sequence[Instance], ready: Callable[[Instance], bool]
) -> Diff:
    """Give each slot of the release its best instance: ready before running, then the newest."""
    present = [item for item in observed if item.state != "stopping"]
    ours = [item for item in present if manifest is not None and item.release == manifest.release]
    ours.sort(key=lambda item: (ready(item), item.state == "running", item.generation))
    best = {item.name: item for item in ours}
    slots = _slots(manifest, observed)
    kept = tuple(best[slot.name] for slot in slots if slot.name in best)
    ids = {item.id for item in kept}
    return Diff(
        kept=kept,
        missing=tuple(slot for slot in slots if slot.name not in best),
        strangers=tuple(item for item in present if item.id not in ids),
    )


def _slots(manifest: Manifest | None, observed: Sequence[Instance]) -> list[Slot]:
    if manifest is None:
        return []
    # One that is being stopped still holds its name: what takes its place is of the next generation.
    used = [item.generation + 1 for item in observed if item.release == manifest.release]
    generation = max(used, default=0)
    return [
        Slot(process, number, generation)
        for process in manifest.processes
        for number in range(1, process.quantity + 1)
    ]
