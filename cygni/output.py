"""The grammar of what people read during a push: steps, details, problems."""

from collections.abc import Awaitable, Callable, Iterable

Announce = Callable[[str], Awaitable[None]]

STEP = "-----> "
DETAIL = " " * 7
PROBLEM = " !     "


class Narrator:
    """Writes Heroku's grammar, line by line, to wherever the lines go."""

    def __init__(self, announce: Announce) -> None:
        self._announce = announce

    async def step(self, text: str) -> None:
        """A stage begins: `-----> text`."""
        await self._announce(STEP + text)

    async def detail(self, text: str = "") -> None:
        """Detail of a stage; text of several lines is indented throughout."""
        for line in text.split("\n"):
            await self._announce((DETAIL + line).rstrip())

    async def problem(self, text: str) -> None:
        """What went wrong, set off by bangs."""
        for line in text.split("\n"):
            await self._announce((PROBLEM + line).rstrip())

    async def raw(self, line: str) -> None:
        """A line that is in the grammar already."""
        await self._announce(line)

    async def details(self, lines: Iterable[str]) -> None:
        """Several detail lines."""
        for line in lines:
            await self.detail(line)
