"""The stacks of every Debian suite on one engine, each made when an app first needs it."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from buildpacks.plan import STACKS
from buildpacks.ports import Announce, StackImages
from buildpacks.stacks.stack import Stacks

SUITES = tuple(stack.suite for stack in STACKS)


class Suites:
    """Hands out the `Stacks` of a suite. `make` builds the adapter for one; it is called once a suite."""

    def __init__(self, make: Callable[[str], Stacks]) -> None:
        self._make = make
        self._made: dict[str, Stacks] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stacks in self._made.values():
            await stacks.close()

    def of(self, suite: str) -> Stacks:
        """The stack of one suite.

        Raises:
            ValueError: there is no such suite.
        """
        if suite not in SUITES:
            raise ValueError(f"There is no stack of {suite}; there are {', '.join(SUITES)}.")
        if suite not in self._made:
            self._made[suite] = self._make(suite)
        return self._made[suite]

    async def ensure(self, suite: str, announce: Announce) -> StackImages:
        """The images of a suite, once they are there and current.

        Raises:
            StackError: they are missing and cannot be made here.
            EngineUnavailableError: no engine answers.
        """
        return await self.of(suite).ensure(announce)
