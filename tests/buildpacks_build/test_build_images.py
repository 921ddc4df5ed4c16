"""Image operations on the real engine."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from buildpacks.buildkit.client import EngineRequestError
from buildpacks.buildkit.engine import BuildKitBuilder
from buildpacks.buildkit.images import Images

if TYPE_CHECKING:
    from tests.buildpacks_build.conftest import RequestMaker, Screen


pytestmark = pytest.mark.docker


async def test_names_are_added_and_removed_and_the_last_takes_the_image(
    builder: BuildKitBuilder, images: Images, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    request = request_for("RUN true")
    built = await builder.build(request, screen)
    other = f"cygni-test/other-{token}:2"
    await images.tag(built.id, other)
    assert await images.exists(other)
    assert await images.remove(request.tag)
    assert not await images.exists(request.tag)
    assert await images.exists(built.id)
    assert await images.remove(other)
    assert not await images.exists(built.id)
    assert not await images.remove(other)


async def test_an_image_with_several_names_goes_by_force_only(
    builder: BuildKitBuilder, images: Images, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    built = await builder.build(request_for("RUN true"), screen)
    await images.tag(built.id, f"cygni-test/other-{token}:2")
    with pytest.raises(EngineRequestError) as caught:
        await images.remove(built.id)
    assert caught.value.status == 409
    assert await images.remove(built.id, force=True)


async def test_what_is_not_there_is_none(images: Images) -> None:
    assert await images.inspect("cygni-test/none:1") is None
    assert await images.labels("cygni-test/none:1") is None
    with pytest.raises(EngineRequestError):
        await images.tag("cygni-test/none:1", "cygni-test/none:2")


async def test_disk_usage_and_a_prune_that_keeps_all(images: Images) -> None:
    usage = await images.disk_usage()
    assert usage.layers > 0
    assert usage.build_cache >= 0
    assert await images.prune_build_cache(1 << 40) == 0
