"""A real builder on the real engine, the real base images, and names that are cleaned up."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from buildpacks.buildkit.client import EngineClient, EngineUnavailableError
from buildpacks.buildkit.engine import BuildKitBuilder
from buildpacks.buildkit.images import Images
from buildpacks.ports import BuildRequest
from buildpacks.stacks.stack import StackImages, Stacks
from buildpacks.tree import MemoryTree

LABEL = "cygni.test"


@dataclass
class Screen:
    """What a pusher sees, and when (monotonic seconds)."""

    lines: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, line: str) -> None:
        self.lines.append(line)
        self.times.append(time.monotonic())
        self._changed.set()

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def has(self, part: str) -> bool:
        return any(part in line for line in self.lines)

    def at(self, line: str) -> float:
        """When a line came."""
        return next(when for text, when in zip(self.lines, self.times, strict=True) if text.strip() == line)

    async def until(self, part: str, seconds: float = 30) -> None:
        """Wait for a line that starts with `part`, its indent aside."""
        async with asyncio.timeout(seconds):
            while not any(line.strip().startswith(part) for line in self.lines):
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture
def screen() -> Screen:
    return Screen()


@pytest.fixture
async def engine() -> AsyncIterator[EngineClient]:
    async with EngineClient() as client:
        try:
            await client.check()
        except EngineUnavailableError as error:
            pytest.skip(f"NO DOCKER ENGINE, nothing is proven here: {error}")
        yield client


@pytest.fixture
async def images(engine: EngineClient) -> Images:
    return Images(engine)


@pytest.fixture
async def builder(engine: EngineClient) -> AsyncIterator[BuildKitBuilder]:
    async with BuildKitBuilder(engine.socket, slots=2) as built:
        yield built


@pytest.fixture
async def stack(engine: EngineClient, tmp_path_factory: pytest.TempPathFactory) -> StackImages:
    async def say(line: str) -> None:
        print(line)

    lock = Path(tmp_path_factory.getbasetemp().parent) / "stack.lock"
    async with Stacks(engine.socket, lock_file=lock) as stacks:
        return await stacks.ensure(say)


RequestMaker = Callable[..., BuildRequest]


@pytest.fixture
async def request_for(stack: StackImages, images: Images) -> AsyncIterator[RequestMaker]:
    """Makes requests `FROM` the run image that no earlier run has cached; their images are removed at the end."""
    token = secrets.token_hex(6)

    def make(steps: str, files: dict[str, Any] | None = None, **options: Any) -> BuildRequest:
        dockerfile = steps if steps.startswith("FROM") else f"FROM {stack.run}\nENV UNLIKE={token}\n{steps}\n"
        tree = options.pop("tree", None) or MemoryTree(files or {"app.py": b"print(1)\n"})
        tag = options.pop("tag", f"cygni-test/{token}:1")
        labels = {LABEL: token, **options.pop("labels", {})}
        return BuildRequest(dockerfile, tree, tag, labels=labels, **options)

    yield make
    for image in await images.list({LABEL: token}):
        await images.remove(image.id, force=True)


@pytest.fixture
def token() -> str:
    """Makes a step unlike any earlier one, so that no cache has it."""
    return secrets.token_hex(8)
