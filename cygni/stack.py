"""`cygni stack:build [SUITE…]`: make the base images now, as root, instead of during the first push."""

import sys
from collections.abc import Sequence

from buildpacks.buildkit.client import EngineUnavailableError
from buildpacks.stacks.stack import StackError
from buildpacks.stacks.suites import SUITES
from config import load
from cygni.backends import make_stacks
from cygni.output import PROBLEM


async def build(words: Sequence[str]) -> int:
    """Make the images that are missing or out of date; `--force` makes them anew.

    Words name Debian suites; without any it is all of them.
    """
    suites = [word for word in words if not word.startswith("--")] or list(SUITES)
    async with make_stacks(load()) as stacks:
        for suite in suites:
            try:
                stack = stacks.of(suite)
                images = await (stack.rebuild(_say) if "--force" in words else stack.ensure(_say))
            except (ValueError, StackError, EngineUnavailableError) as error:
                for line in str(error).splitlines():
                    print(f"{PROBLEM}{line}", file=sys.stderr)  # noqa: T201 - this is a command line program
                return 1
            await _say(f"{images.build}, {images.run}")
    return 0


async def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - this is a command line program
