"""Builds on the real engine: streaming, caching, trees, images."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from buildpacks.buildkit.client import EngineClient
from buildpacks.buildkit.engine import BuildKitBuilder
from buildpacks.buildkit.images import Images
from buildpacks.ports import BuildFailedError, BuildLimits, Entry, TreeLimits
from buildpacks.stacks.stack import StackImages
from buildpacks.tree import MemoryFile, MemoryTree

if TYPE_CHECKING:
    from tests.buildpacks_build.conftest import RequestMaker, Screen


pytestmark = pytest.mark.docker


async def test_an_image_has_its_tag_labels_command_and_ports(
    builder: BuildKitBuilder, images: Images, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    request = request_for(
        'COPY . .\nEXPOSE 8000 9000/udp\nENTRYPOINT ["tini", "--"]\nCMD ["python3", "app.py"]',
        labels={"cygni.app": token},
    )
    built = await builder.build(request, screen)
    assert built.command == ("tini", "--", "python3", "app.py")
    assert built.exposed_ports == (8000,)
    assert built.size > 1_000_000
    found = await images.list({"cygni.app": token})
    assert [image.id for image in found] == [built.id]
    assert request.tag in found[0].tags


async def test_output_comes_while_the_step_still_runs(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    """The step prints, then waits; the line was there long before its end, and so was half a line."""
    request = request_for(f"RUN echo {token}; sleep 1.5; printf 'half '; sleep 1.5; echo line; echo end")
    await builder.build(request, screen)
    assert screen.at("end") - screen.at(token) > 2.5
    assert screen.at("end") - screen.at("half") > 0.5


async def test_steps_are_told_once_with_seconds_and_again_as_cached(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    request = request_for(f"RUN sleep 0.4; echo {token}-printed")
    await builder.build(request, screen)
    starts = [line for line in screen.lines if line.startswith("       [2/2] RUN sleep 0.4")]
    ends = [line for line in screen.lines if line.startswith("       [2/2] DONE ")]
    assert len(starts) == len(ends) == 1
    assert float(ends[0].split()[-1].removesuffix("s")) >= 0.4
    screen.lines.clear()
    await builder.build(request, screen)
    assert screen.lines == [f"       [2/2] CACHED RUN sleep 0.4; echo {token}-printed"]


async def test_parallel_stages_say_which_step_prints(
    builder: BuildKitBuilder, request_for: RequestMaker, stack: StackImages, screen: Screen, token: str
) -> None:
    dockerfile = (
        f"FROM {stack.run} AS one\nRUN echo {token}; sleep 0.7; echo from-one; sleep 0.7; echo x > /one\n"
        f"FROM {stack.run} AS two\nRUN echo {token}; sleep 0.7; echo from-two; sleep 0.7; echo x > /two\n"
        f"FROM {stack.run}\nCOPY --from=one /one /\nCOPY --from=two /two /\n"
    )
    await builder.build(request_for(dockerfile), screen)
    assert "       [one 2/2] from-one" in screen.lines
    assert "       [two 2/2] from-two" in screen.lines


async def test_the_tree_arrives_with_canonical_modes_owner_and_links(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    files = {
        "a-b": b"1",
        "a/b": b"2",
        "a.b": b"3",
        "bin/run": MemoryFile(b"#!/bin/sh\necho ran\n", 0o100755),
        "link": MemoryFile(b"a/b", 0o120000),
        "out": MemoryFile(b"/etc/hostname", 0o120000),
        "empty": b"",
        "with space and \u00fcmlaut": b"4",
        "large": bytes(range(256)) * 4096,
    }
    steps = (
        "COPY . /t/\nRUN cd /t; bin/run; stat -c '%n %a %u:%g' a-b bin/run; readlink link out; cat link;"
        f" sha256sum large; ls -A; stat -c %s empty; : {token}"
    )
    await builder.build(request_for(steps, files), screen)
    shown = [line.strip() for line in screen.lines]
    assert "ran" in shown
    assert "a-b 644 0:0" in shown
    assert "bin/run 755 0:0" in shown
    assert "a/b" in shown
    assert "/etc/hostname" in shown
    assert screen.has("2")
    names = [name for name in shown if name in {"a", "a-b", "a.b", "bin", "link", "out", "empty", "large"}]
    assert len(names) >= 8
    assert not screen.has("Dockerfile"), "nothing of ours lies among the app's files"


async def test_a_changed_file_of_the_same_size_is_seen_and_a_removed_one_is_gone(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen
) -> None:
    steps = "COPY . /t/\nRUN ls /t; cat /t/a"
    await builder.build(request_for(steps, {"a": b"one", "b": b""}), screen)
    screen.lines.clear()
    await builder.build(request_for(steps, {"a": b"two"}), screen)
    assert "       two" in screen.lines
    assert "       b" not in screen.lines


async def test_a_file_that_did_not_change_keeps_later_steps_cached(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    files = {"requirements.txt": token.encode(), "app.py": b"1"}
    steps = "COPY requirements.txt .\nRUN sleep 0.1\nCOPY . ."
    await builder.build(request_for(steps, files), screen)
    screen.lines.clear()
    await builder.build(request_for(steps, files | {"app.py": b"2"}), screen)
    assert "       [3/4] CACHED RUN sleep 0.1" in screen.lines
    assert screen.has("[4/4] DONE")


async def test_submodules_are_left_out_and_said_so(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen
) -> None:
    class WithSubmodule(MemoryTree):
        def entries(self) -> Iterator[Entry]:
            yield from super().entries()
            yield Entry("vendor/lib", 0o160000, 0)

    await builder.build(request_for("COPY . /t/\nRUN ls /t", tree=WithSubmodule({"a": b""})), screen)
    assert screen.lines[0] == "       Git submodules are not fetched: vendor/lib"


async def test_dockerignore_counts_unless_turned_off(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen
) -> None:
    files = {".dockerignore": b"*.log\nnode_modules\n", "a.log": b"", "node_modules/x/y": b"", "keep": b""}
    await builder.build(request_for("COPY . /t/\nRUN find /t -type f", files), screen)
    assert screen.has("/t/keep")
    assert not screen.has("/t/a.log")
    assert not screen.has("/t/node_modules")
    assert screen.lines[0] == "       .dockerignore leaves out 2 of 4 files"
    screen.lines.clear()
    await builder.build(request_for("COPY . /t/\nRUN find /t -type f", files, ignore_file=None), screen)
    assert screen.has("/t/a.log")


async def test_patterns_of_the_request_leave_files_out_without_an_ignore_file(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen
) -> None:
    files = {"node_modules/x/y": b"", "keep": b""}
    request = request_for(
        "COPY . /t/\nRUN find /t -type f", files, ignore_file=None, ignored=("node_modules",)
    )
    await builder.build(request, screen)
    assert screen.has("/t/keep")
    assert not screen.has("/t/node_modules")


async def test_extra_files_join_the_tree_and_may_not_replace_it(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen
) -> None:
    request = request_for("COPY . /t/\nRUN cat /t/.cygni/extra", extra_files={".cygni/extra": b"ours\n"})
    await builder.build(request, screen)
    assert "       ours" in screen.lines
    with pytest.raises(BuildFailedError, match=r"a file of its own at app\.py") as caught:
        await builder.build(request_for("COPY . .", extra_files={"app.py": b""}), screen)
    assert caught.value.cause == "context"


async def test_a_target_stage_and_build_arguments(
    builder: BuildKitBuilder, request_for: RequestMaker, stack: StackImages, screen: Screen, token: str
) -> None:
    dockerfile = f"FROM {stack.run} AS first\nARG WHO\nRUN echo hello $WHO\nFROM first\nRUN exit 1\n"
    await builder.build(request_for(dockerfile, target="first", build_args={"WHO": token}), screen)
    assert f"       hello {token}" in screen.lines


async def test_an_app_cannot_read_another_ones_cache(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    """A cache belongs to its id: the same id gives the same files, another token none."""

    def steps(key: str, command: str) -> str:
        return f"RUN --mount=type=cache,id={key},target=/cache {command}; : {token}"

    await builder.build(request_for(steps(f"{token}-a", "echo secret > /cache/file")), screen)
    await builder.build(request_for(steps(f"{token}-a", "cat /cache/file")), screen)
    assert "       secret" in screen.lines
    screen.lines.clear()
    await builder.build(request_for(steps(f"{token}-b", "ls /cache | wc -l")), screen)
    assert "       0" in screen.lines
    assert not screen.has(f"{token}-b"), "the mount's id is not shown"


async def test_builds_run_at_the_same_time_up_to_the_slots_and_the_rest_waits(
    engine: EngineClient, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    async with BuildKitBuilder(engine.socket, slots=1) as one:
        first = asyncio.create_task(
            one.build(
                request_for(f"RUN echo up {token}; sleep 0.5; echo first", tag=f"cygni-test/{token}:1"),
                screen,
            )
        )
        await screen.until("up ")
        await one.build(request_for(f"RUN echo second {token}", tag=f"cygni-test/{token}:2"), screen)
        await first
    assert screen.has("Waiting for a build slot")
    assert screen.at("first") < screen.at(f"second {token}")


async def test_two_builds_of_one_app_name_at_once_do_not_mix(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    """Both hand over files under the same shared key."""

    async def one(content: str) -> None:
        files = {f"f{number}": content.encode() for number in range(300)}
        await builder.build(request_for(f"COPY . /t/\nRUN cat /t/* | sort -u; : {token}", files), screen)

    await asyncio.gather(one(f"{token}-left\n"), one(f"{token}-right\n"))
    shown = sorted(line.split()[-1] for line in screen.lines if line.endswith(("-left", "-right")))
    assert shown == [f"{token}-left", f"{token}-right"]


async def test_a_tree_over_its_limit_is_a_context_failure(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen
) -> None:
    tree = MemoryTree({f"f{number}": b"" for number in range(20)}, TreeLimits(files=10))
    with pytest.raises(BuildFailedError, match="10 files") as caught:
        await builder.build(request_for("COPY . .", tree=tree), screen)
    assert caught.value.cause == "context"


async def test_a_tree_that_changes_under_the_build_is_a_context_failure(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    class Growing(MemoryTree):
        def chunks(self, path: str) -> Iterator[bytes]:
            yield from super().chunks(path)
            yield b"more"

    with pytest.raises(BuildFailedError, match=r"app\.py has") as caught:
        await builder.build(request_for("COPY . .", tree=Growing({"app.py": token.encode()})), screen)
    assert caught.value.cause == "context"


async def test_five_thousand_files_arrive_in_seconds_and_the_loop_stays_free(
    builder: BuildKitBuilder, request_for: RequestMaker, screen: Screen, token: str
) -> None:
    files = {f"d{n % 50}/f{n}.py": f"{token}{n}".encode() * 40 for n in range(5000)}
    longest = 0.0

    async def feel() -> None:
        nonlocal longest
        while True:
            before = time.monotonic()
            await asyncio.sleep(0.005)
            longest = max(longest, time.monotonic() - before)

    feeler = asyncio.create_task(feel())
    started = time.monotonic()
    limits = BuildLimits(seconds=60)
    await builder.build(request_for("COPY . /t/\nRUN find /t -type f | wc -l", files, limits=limits), screen)
    print(
        f"5,000 files: {time.monotonic() - started:.2f} s, longest pause of the loop {longest * 1000:.0f} ms"
    )
    feeler.cancel()
    assert "       5000" in screen.lines
    assert longest < 1
