"""`cygni stack:build [SUITE…]`: make the base images now, as root, instead of during the first push."""

from collections.abc import Sequence

from buildpacks.plan import STACKS
from config import load
from cygni.app import make_stacks


async def build(words: Sequence[str]) -> int:
    """Make the images that are missing or out of date; `--force` makes them anew. Words name Debian suites."""
    suites = [word for word in words if not word.startswith("--")] or [STACKS[0].suite]
    async with make_stacks(load()) as stacks:
        for suite in suites:
            try:
                stack = stacks.of(suite)
            except ValueError as error:
                await _say(f" !     {error}")
                return 1
            images = await (stack.rebuild(_say) if "--force" in words else stack.ensure(_say))
            await _say(f"{images.build}, {images.run}")
    return 0


async def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a command line program
