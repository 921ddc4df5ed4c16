"""A build that a registry's absence stopped is tried again; one that the app stopped is not."""

import pytest

from buildpacks.ports import BuildFailedError, BuildRequest, BuiltImage
from buildpacks.tree import MemoryTree
from cygni import images as module
from cygni.domain.errors import BuildError
from cygni.images import Images

STEP = "[deps 2/2] RUN npm ci"
DOWN = BuildFailedError("exit", "x", step=STEP, exit_code=1, tail=("npm error network read ECONNRESET",))
WRONG = BuildFailedError("exit", "x", step=STEP, exit_code=1, tail=("npm error code ERESOLVE",))
BUILT = BuiltImage("sha256:1", (), (), 1)


class Narrator:
    def __init__(self) -> None:
        self.told: list[str] = []

    async def raw(self, line: str) -> None: ...

    async def detail(self, line: str) -> None:
        self.told.append(line)


class Builder:
    """Answers with what it was given, one after the other."""

    def __init__(self, *answers: BuildFailedError | BuiltImage) -> None:
        self.answers = list(answers)

    async def build(self, request: BuildRequest, output: object) -> BuiltImage:
        answer = self.answers.pop(0)
        if isinstance(answer, BuildFailedError):
            raise answer
        return answer


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", (0.0, 0.0))


async def run(builder: Builder, narrator: Narrator) -> BuiltImage:
    images = Images(None, "s", None, None, builder, None)  # type: ignore[arg-type]
    return await images._run(BuildRequest("", MemoryTree({}), "t"), narrator)  # type: ignore[arg-type]


async def test_a_registry_that_comes_back_costs_no_push() -> None:
    narrator = Narrator()
    assert await run(Builder(DOWN, DOWN, BUILT), narrator) is BUILT
    assert len(narrator.told) == 2
    assert "did not answer" in narrator.told[0]


async def test_a_registry_that_stays_away_is_named_at_last() -> None:
    with pytest.raises(BuildError) as caught:
        await run(Builder(DOWN, DOWN, DOWN), Narrator())
    assert caught.value.failure_id == "build/network"


async def test_a_mistake_of_the_app_is_not_tried_again() -> None:
    builder = Builder(WRONG, BUILT)
    with pytest.raises(BuildError):
        await run(builder, Narrator())
    assert builder.answers == [BUILT]
