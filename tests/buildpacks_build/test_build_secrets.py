"""Secrets: there for the step that asks, nowhere else."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import TYPE_CHECKING

import pytest

from buildpacks.buildkit.client import EngineClient
from buildpacks.buildkit.engine import BuildKitBuilder
from buildpacks.ports import BuildFailedError

if TYPE_CHECKING:
    from tests.buildpacks_build.conftest import RequestMaker, Screen


pytestmark = pytest.mark.docker


async def found_in_storage(engine: EngineClient, text: str) -> list[str]:
    """Files below the engine's folder that hold the text."""
    root = (await engine.json("GET", "/info"))["DockerRootDir"]
    folders = [f"{root}/{name}" for name in ("buildkit", "image", "overlay2", "tmp", "containers")]
    # -D skip: a build's own sockets and pipes would block the search.
    process = await asyncio.create_subprocess_exec(
        "find", *folders, "-xdev", "-type", "f", "-mmin", "-3", "-exec", "grep", "-lF", "-D", "skip", "-e", text, "{}", "+",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    out, _ = await process.communicate()
    return out.decode().split()


async def test_a_secret_is_at_its_mount_and_nowhere_afterwards(
    engine: EngineClient, builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    value = f"s3cret-{token}"
    steps = (
        "RUN --mount=type=secret,id=KEY sha256sum /run/secrets/KEY | cut -c1-12; test ! -e /run/secrets/OTHER\n"
        "RUN test ! -s /run/secrets/KEY; echo clean > /proof"
    )
    built = await builder.build(request_for(steps, secrets={"KEY": value, "OTHER": "another"}), screen)
    assert "       " + hashlib.sha256(value.encode()).hexdigest()[:12] in screen.lines
    history = await engine.json("GET", f"/images/{built.id}/history")
    config = await engine.json("GET", f"/images/{built.id}/json")
    assert value not in json.dumps([history, config])
    assert await found_in_storage(engine, value) == []


async def test_the_search_of_the_storage_finds_what_is_there(
    engine: EngineClient, builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    """Guards the test above: a value that a step writes into its layer is found."""
    await builder.build(request_for("COPY . /t/", {"leak": f"leak-{token}".encode()}), screen)
    assert await found_in_storage(engine, f"leak-{token}")


async def test_a_printed_secret_is_hidden_in_output_steps_and_failures(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    value, pem = f"v4lue-{token}", f"-----BEGIN KEY-----\n{token}AAAA\n{token}BBBB\n-----END KEY-----\n"
    steps = (
        "RUN --mount=type=secret,id=KEY --mount=type=secret,id=PEM "
        "cat /run/secrets/KEY; echo; head -c 9 /run/secrets/KEY; sleep 1; tail -c +10 /run/secrets/KEY; echo;"
        f" cat /run/secrets/PEM; echo {value}; exit 9"
    )
    with pytest.raises(BuildFailedError) as caught:
        await builder.build(request_for(steps, secrets={"KEY": value, "PEM": pem}), screen)
    everything = screen.text + repr(caught.value.tail) + caught.value.step + str(caught.value)
    assert token not in everything
    assert "[hidden]" in everything
    assert caught.value.exit_code == 9


async def test_a_secret_that_was_not_given_fails_with_its_name(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    steps = f"RUN --mount=type=secret,id=MISSING,required cat /run/secrets/MISSING; : {token}"
    with pytest.raises(BuildFailedError, match="MISSING"):
        await builder.build(request_for(steps, secrets={"OTHER": "value"}), screen)


async def test_large_and_binary_looking_values_arrive_whole(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    value = "\u00e9" * 100_000
    steps = f"RUN --mount=type=secret,id=BIG stat -c %s /run/secrets/BIG; : {token}"
    await builder.build(request_for(steps, secrets={"BIG": value}), screen)
    assert "       200000" in screen.lines
