"""Builds that end without an image: each has a cause, leaves no process behind, and shows what happened."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from buildpacks.buildkit import cgroups
from buildpacks.buildkit.client import EngineClient, EngineUnavailableError
from buildpacks.buildkit.engine import BuildKitBuilder
from buildpacks.ports import BuildFailedError, BuildLimits, BuildRequest
from buildpacks.stacks.stack import StackImages

if TYPE_CHECKING:
    from tests.buildpacks_build.conftest import RequestMaker, Screen


pytestmark = pytest.mark.docker


def processes(marker: str) -> list[str]:
    """Processes of this machine whose command line holds the marker, and which are not zombies."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if marker.encode() in (folder / "cmdline").read_bytes():
                found.append(folder.name)
        except OSError:
            continue
    return found


async def gone(marker: str, seconds: float = 10) -> bool:
    async with asyncio.timeout(seconds):
        while processes(marker):
            await asyncio.sleep(0.05)
    return True


async def failing(builder: BuildKitBuilder, request: BuildRequest, screen: Screen) -> BuildFailedError:
    with pytest.raises(BuildFailedError) as caught:
        await builder.build(request, screen)
    return caught.value


async def test_a_failing_step_has_its_name_exit_code_and_last_lines(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen
) -> None:
    error = await failing(builder, request_for("RUN seq 100; echo broken >&2; exit 3"), screen)
    assert (error.cause, error.exit_code) == ("exit", 3)
    assert error.step == "[2/2] RUN seq 100; echo broken >&2; exit 3"
    assert error.tail[-1] == "broken"
    assert len(error.tail) == 50
    assert screen.has("[2/2] FAILED")


@pytest.mark.parametrize(
    ("dockerfile", "text"),
    [
        ("FROM {run}\nFLY away\n", "unknown instruction: FLY"),
        ("FROM {run}\nCOPY missing.txt .\n", "missing.txt"),
        ("FROM {run}\nRUN --mount=type=nonsense true\n", "nonsense"),
        ("", "cannot be empty"),
        ("FROM cygni-test/there-is-no-such-image:1\n", "there-is-no-such-image"),
    ],
)
async def test_a_wrong_dockerfile_says_what_is_wrong(
    builder: BuildKitBuilder,
    request_for: RequestMaker,
    stack: StackImages,
    screen: Screen,
    dockerfile: str,
    text: str,
) -> None:
    request = request_for("FROM x")
    object.__setattr__(request, "dockerfile", dockerfile.format(run=stack.run))
    error = await failing(builder, request, screen)
    assert error.cause == "syntax"
    assert text in str(error)


async def test_cancelling_ends_the_process_in_the_build(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    request = request_for(f"RUN echo up-{token}; trap '' TERM; while :; do sleep 0.1; : {token}; done")
    task = asyncio.create_task(builder.build(request, screen))
    await screen.until(f"up-{token}")
    assert processes(token)
    started = time.monotonic()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await gone(token)
    assert time.monotonic() - started < 8


async def test_cancelling_while_waiting_for_a_slot_gives_the_slot_up(
    engine: EngineClient, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    async with BuildKitBuilder(engine.socket, slots=1) as one:
        first = asyncio.create_task(one.build(request_for(f"RUN echo up-{token}; sleep 30"), screen))
        await screen.until(f"up-{token}")
        second = asyncio.create_task(one.build(request_for("RUN true"), screen))
        await screen.until("Waiting")
        second.cancel()
        first.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        await one.build(request_for("RUN true"), screen)


async def test_a_build_that_takes_too_long_is_ended(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    request = request_for(f"RUN echo up-{token}; sleep 60; : {token}", limits=BuildLimits(seconds=2))
    started = time.monotonic()
    error = await failing(builder, request, screen)
    assert error.cause == "timeout"
    assert "2 seconds during [2/2] RUN echo" in str(error)
    assert await gone(token)
    assert time.monotonic() - started < 12


async def test_endless_output_is_ended(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    request = request_for(
        f"RUN while :; do echo {token} 0123456789; done", limits=BuildLimits(log_bytes=100_000)
    )
    error = await failing(builder, request, screen)
    assert error.cause == "log"
    assert str(error).startswith("the build printed more than 97.7 KB during [2/2] RUN while")
    assert await gone(token)
    assert len(screen.text) < 200_000


async def test_a_flood_that_the_engine_cuts_off_is_ended_soon_after(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    limits = BuildLimits(seconds=120, flood_seconds=5)
    started = time.monotonic()
    error = await failing(builder, request_for(f"RUN yes {token}", limits=limits), screen)
    assert error.cause == "log"
    assert str(error) == f"endless output of [2/2] RUN yes {token}"
    assert screen.has("output clipped")
    assert await gone(token)
    assert time.monotonic() - started < 60
    assert len(screen.text) < 3_000_000


async def test_a_step_that_prints_too_much_and_ends_is_no_failure(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    limits = BuildLimits(seconds=120, flood_seconds=5)
    await builder.build(request_for(f"RUN yes {token} | head -c 200000000; : {token}", limits=limits), screen)
    assert screen.has("output clipped")


FILL = "x='a=[]\\nwhile 1:a.append(bytearray(1<<24))'; printf \"$x\" > /f.py; python3 /f.py; : "


async def test_a_build_that_fills_memory_is_ended_by_its_limit(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    limits = BuildLimits(memory_bytes=200 << 20)
    started = time.monotonic()
    error = await failing(builder, request_for(f"RUN {FILL}{token}; exit 1", limits=limits), screen)
    assert error.cause == "memory"
    assert str(error) == "out of memory (limit 200 MB)"
    assert error.step.startswith("[2/2] RUN x=")
    assert await gone(token)
    assert time.monotonic() - started < 20


async def test_without_the_right_to_set_limits_the_watchdog_ends_it(
    builder: BuildKitBuilder,
    request_for: RequestMaker,
    screen: Screen,
    token: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As an unprivileged control plane finds it: it sees the groups and cannot write to them."""
    monkeypatch.setattr(cgroups, "_write", lambda path, value: False)
    limits = BuildLimits(memory_bytes=200 << 20)
    error = await failing(builder, request_for(f"RUN {FILL}{token}", limits=limits), screen)
    assert error.cause == "memory"
    assert await gone(token)


async def test_a_build_beside_one_that_fills_memory_is_not_touched(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    small = BuildLimits(memory_bytes=200 << 20)
    calm = builder.build(
        request_for(f"RUN echo calm {token}; sleep 3; echo calm-done", tag=f"cygni-test/{token}:1"), screen
    )
    greedy = failing(
        builder, request_for(f"RUN {FILL}{token}", limits=small, tag=f"cygni-test/{token}:2"), screen
    )
    _, error = await asyncio.gather(calm, greedy)
    assert error.cause == "memory"
    assert screen.has("calm-done")


async def test_page_cache_is_not_counted(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    request = request_for(
        f"RUN dd if=/dev/zero of=/big bs=1M count=300 status=none; cat /big > /dev/null; rm /big; echo ok {token}",
        limits=BuildLimits(memory_bytes=100 << 20),
    )
    await builder.build(request, screen)
    assert screen.has(f"ok {token}")


class CutLine:
    """A socket between a client and the engine that can be cut."""

    def __init__(self, path: Path, engine: Path) -> None:
        self.path = path
        self._engine = engine
        self._writers: list[asyncio.StreamWriter] = []

    async def __aenter__(self) -> CutLine:
        self._server = await asyncio.start_unix_server(self._connect, self.path)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.cut()
        await self._server.wait_closed()
        for writer in self._writers:
            with pytest.MonkeyPatch.context():
                writer.close()

    def cut(self) -> None:
        self._server.close()
        self.path.unlink(missing_ok=True)
        for writer in self._writers:
            writer.transport.abort()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_unix_connection(self._engine)
        self._writers += [writer, there_writer]
        await asyncio.gather(self._copy(reader, there_writer), self._copy(there_reader, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
            writer.close()
        except OSError:
            writer.close()


async def test_an_engine_that_goes_away_in_the_middle(
    engine: EngineClient, request_for: RequestMaker, screen: Screen, token: str, tmp_path: Path
) -> None:
    async with (
        CutLine(tmp_path / "engine.sock", engine.socket) as line,
        BuildKitBuilder(line.path) as builder,
    ):
        task = asyncio.create_task(
            builder.build(request_for(f"RUN echo up-{token}; sleep 30; : {token}"), screen)
        )
        await screen.until(f"up-{token}")
        started = time.monotonic()
        line.cut()
        with pytest.raises(BuildFailedError) as caught:
            await task
        assert caught.value.cause == "engine"
        assert time.monotonic() - started < 5
        assert await gone(token), "the engine ends a build whose client is gone"


async def test_no_engine_at_all_is_told_with_what_to_do(
    request_for: RequestMaker, screen: Screen, tmp_path: Path
) -> None:
    async with BuildKitBuilder(tmp_path / "none.sock") as builder:
        error = await failing(builder, request_for("RUN true"), screen)
        assert error.cause == "engine"
        assert "is the Docker engine installed and started?" in str(error)


async def test_a_socket_that_is_not_an_engine_is_told(tmp_path: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
        await writer.drain()
        writer.close()

    async with await asyncio.start_unix_server(answer, tmp_path / "other.sock"):
        async with EngineClient(tmp_path / "other.sock") as client:
            with pytest.raises(EngineUnavailableError, match="speaks API unknown"):
                await client.check()


async def test_an_announcer_that_fails_ends_the_build(
    builder: BuildKitBuilder, request_for: RequestMaker, token: str
) -> None:
    async def broken(line: str) -> None:
        if f"up-{token}" in line and "RUN" not in line:
            raise ConnectionResetError("the pusher is gone")

    with pytest.raises(ConnectionResetError, match="pusher"):
        await builder.build(request_for(f"RUN echo up-{token}; sleep 30; : {token}"), broken)
    assert await gone(token)
