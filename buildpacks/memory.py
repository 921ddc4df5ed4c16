"""Images for the engine in memory: plans are real, builds are recorded and not done.

May import: buildpacks, config.
"""

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path

from buildpacks.ports import Announce, BuildRequest, BuiltImage, Image, StackImages

PROGRAM_FILE = "cygni-memory.json"
"""A file of the pushed tree that says how its instances behave."""
_STACKS = StackImages(build="cygni-memory:build", run="cygni-memory:run")


@dataclass(frozen=True)
class Record:
    """What is kept of a build. Neither secrets nor build arguments are."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    size: int
    created: int
    program: str | None = field(default=None)
    """The text of the tree's PROGRAM_FILE."""


class MemoryImages:
    """Implements ImageStore on one file, so that a server that starts again knows the images of its releases."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._records: dict[str, Record] = {}
        if file.exists():
            for item in json.loads(file.read_text()):
                self._records[item["id"]] = Record(**{**item, "tags": tuple(item["tags"])})

    async def inspect(self, name: str) -> BuiltImage | None:
        """What an image's configuration says, None when it does not exist."""
        found = self.record(name)
        return BuiltImage(found.id, (), (), found.size) if found else None

    async def labels(self, name: str) -> Mapping[str, str] | None:
        """An image's labels, None when it does not exist."""
        found = self.record(name)
        return found.labels if found else None

    async def exists(self, name: str) -> bool:
        """Whether the image is recorded."""
        return self.record(name) is not None

    async def remove(self, name: str, *, force: bool = False) -> bool:
        """Remove an image; False when there was none. It has one name only, so nothing needs `force`."""
        del force
        found = self.record(name)
        if found is None:
            return False
        del self._records[found.id]
        self._save()
        return True

    async def list(self, labels: Mapping[str, str]) -> Sequence[Image]:
        """Images that have all of these labels; an empty value means any."""
        return [
            Image(found.id, found.tags, found.labels, found.size, found.created)
            for found in self._records.values()
            if all(
                name in found.labels and value in {"", found.labels[name]} for name, value in labels.items()
            )
        ]

    async def folder(self) -> Path:
        """Where the records are."""
        return self._file.parent

    def record(self, name: str) -> Record | None:
        """Return what is kept of an image, by its id or tag."""
        if name in self._records:
            return self._records[name]
        return next((found for found in self._records.values() if name in found.tags), None)

    def add(self, record: Record) -> None:
        """Keep a record, durably."""
        self._records[record.id] = record
        self._save()

    def _save(self) -> None:
        new = self._file.with_suffix(".new")
        new.write_text(json.dumps([asdict(found) for found in self._records.values()]))
        new.replace(self._file)


class MemoryBuilder:
    """Implements ImageBuilder: reads the whole tree as a build would, and records an image named by its input."""

    def __init__(self, images: MemoryImages) -> None:
        self._images = images

    async def build(self, request: BuildRequest, output: Announce) -> BuiltImage:
        """Record the build."""
        await output("       Recorded, not built: this server's engine is in memory")
        size = await asyncio.to_thread(lambda: sum(entry.size for entry in request.tree.entries()))
        program = await asyncio.to_thread(request.tree.read, PROGRAM_FILE)
        # The tag is made from everything that the image is made from (docs/decisions/0004).
        digest = sha256(f"{request.tag}\0{request.dockerfile}".encode()).hexdigest()
        record = Record(
            id=f"sha256:{digest}",
            tags=(request.tag,),
            labels=dict(request.labels),
            size=size,
            created=int(time.time()),
            program=program.decode(errors="replace") if program is not None else None,
        )
        self._images.add(record)
        return BuiltImage(record.id, (), (), record.size)


class NoStacks:
    """Implements BaseImages where nothing is built: the names only."""

    async def ensure(self, suite: str, announce: Announce) -> StackImages:
        """Return the names; there is nothing to make."""
        del suite, announce
        return _STACKS
