import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from cygni.logs.builds import BuildLogs
from cygni.logs.records import LogStoreError


async def everything(logs: BuildLogs, build_id: str = "b1") -> list[str]:
    return [line async for line in logs.follow(build_id)]


async def test_every_follower_gets_every_line_from_the_beginning_whenever_it_starts(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path)
    writer = logs.writer("b1")
    followers = []
    for i in range(300):
        await writer.line(f"line {i}")
        if i % 50 == 0:
            followers.append(asyncio.create_task(everything(logs)))
            await asyncio.sleep(0)
    await writer.close()
    expected = [f"line {i}" for i in range(300)]
    for follower in followers:
        assert await asyncio.wait_for(follower, 5) == expected
    assert await everything(logs) == expected
    assert (await logs.read("b1")).splitlines() == expected


async def test_a_line_is_seen_as_soon_as_it_is_written(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path)
    writer = logs.writer("b1")
    follower = logs.follow("b1")
    waiting = asyncio.ensure_future(anext(follower))
    await asyncio.sleep(0.02)
    await writer.line("now")
    assert await asyncio.wait_for(waiting, 1) == "now"
    await writer.close()
    assert [line async for line in follower] == []


async def test_a_follower_of_a_queued_build_waits_for_its_first_line(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path)
    logs.writer("b1")
    follower = asyncio.create_task(everything(logs))
    await asyncio.sleep(0.02)
    writer = logs.writer("b1")
    await writer.line("begun")
    await writer.close()
    assert await asyncio.wait_for(follower, 1) == ["begun"]


async def test_an_unfinished_log_without_a_writer_ends_where_it_stops(tmp_path: Path) -> None:
    """As after a restart of the control plane: no reader waits for a build that nobody makes."""
    before = BuildLogs(tmp_path)
    writer = before.writer("b1")
    await writer.line("half")
    assert await asyncio.wait_for(everything(BuildLogs(tmp_path)), 1) == ["half"]
    await writer.close()


async def test_an_unknown_build_has_no_lines(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path / "none")
    assert await everything(logs) == []
    assert await logs.read("b1") == ""
    logs.remove("b1")


async def test_a_build_that_goes_on_adds_to_its_log(tmp_path: Path) -> None:
    (tmp_path / "b1.part").write_bytes(b"one\ntorn")
    logs = BuildLogs(tmp_path)
    writer = logs.writer("b1")
    await writer.line("two")
    await writer.close()
    again = logs.writer("b1")
    await again.line("three")
    await again.close()
    await again.close()
    assert await everything(logs) == ["one", "torn", "two", "three"]
    with pytest.raises(LogStoreError, match="closed"):
        await again.line("late")


async def test_endless_output_is_cut_with_its_last_lines_kept(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path, limit=10_000)
    writer = logs.writer("b1")
    for i in range(10_000):
        await writer.line(f"line {i}")
    await writer.line("error: the cause")
    await writer.close()
    lines = await everything(logs)
    assert (tmp_path / "b1.log").stat().st_size < 12_000
    assert lines[0] == "line 0"
    assert lines[-1] == "error: the cause"
    assert next(line for line in lines if line.startswith(" !     ")).endswith("what follows is left out.")


async def test_one_endless_line_is_cut_too(tmp_path: Path) -> None:
    logs = BuildLogs(tmp_path, limit=10_000)
    writer = logs.writer("b1")
    await writer.line("x" * 50_000)
    await writer.close()
    assert (tmp_path / "b1.log").stat().st_size < 12_000


@pytest.mark.parametrize("build_id", ["../x", "", "a/b", "..", "x\0"])
async def test_an_id_cannot_leave_the_directory(tmp_path: Path, build_id: str) -> None:
    logs = BuildLogs(tmp_path / "builds")
    with pytest.raises(ValueError, match="not a build's id"):
        logs.writer(build_id)
    with pytest.raises(ValueError, match="not a build's id"):
        await everything(logs, build_id)


@pytest.mark.kill
async def test_what_a_follower_was_shown_survives_sigkill(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys; from pathlib import Path; from cygni.logs.builds import BuildLogs\n"
        "logs = BuildLogs(Path(sys.argv[1])); writer = logs.writer('b1')\n"
        "async def write():\n"
        "    for i in range(10**9):\n"
        "        await writer.line(f'line {i}'); await asyncio.sleep(0)\n"
        "async def main():\n"
        "    task = asyncio.create_task(write())\n"
        "    async for line in logs.follow('b1'): print(line, flush=True)\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    shown = [await asyncio.wait_for(child.stdout.readline(), 30) for _ in range(500)]
    os.kill(child.pid, signal.SIGKILL)
    shown += (await child.stdout.read()).splitlines(keepends=True)
    await child.wait()
    kept = await everything(BuildLogs(tmp_path))
    assert kept[: len(shown) - 1] == [line.decode().rstrip("\n") for line in shown[:-1]]
