"""`cygni stack:build`: make the base images now, as root, instead of during the first push."""

from collections.abc import Sequence

from config import load
from cygni.app import make_stacks


async def build(words: Sequence[str]) -> int:
    """Make the images that are missing or out of date; `--force` makes them anew."""
    async with make_stacks(load()) as stacks:
        images = await (stacks.rebuild(_say) if "--force" in words else stacks.ensure(_say))
    await _say(f"{images.build}, {images.run}")
    return 0


async def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a command line program
