"""`cygni stack:build` says what is wrong in sentences."""

from collections.abc import Awaitable, Callable
from typing import Self

import pytest

from buildpacks.stacks.stack import StackError
from cygni import stack


class BrokenStacks:
    """Stands for `Stacks` where the images cannot be made."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    def of(self, suite: str) -> Self:
        assert suite
        return self

    async def ensure(self, announce: Callable[[str], Awaitable[None]]) -> None:
        await announce("-----> Making the base images")
        raise StackError("The base images could not be made: exit code 1\nno space left")


async def test_images_that_cannot_be_made_are_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: object
) -> None:
    monkeypatch.setenv("CYGNI_DATA", str(tmp_path))
    monkeypatch.setattr(stack, "make_stacks", lambda _: BrokenStacks())
    assert await stack.build([]) == 1
    said = capsys.readouterr()
    assert said.err == " !     The base images could not be made: exit code 1\n !     no space left\n"
    assert said.out == "-----> Making the base images\n"
