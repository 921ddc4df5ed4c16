import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import aclosing
from datetime import timedelta
from pathlib import Path

import pytest

from cygni.logs.records import Filter, LogLimits, LogRecord, LogStoreError
from cygni.logs.segments import AppLog
from cygni.logs.store import LogStore

Make = Callable[..., LogRecord]


async def texts(store: LogStore, lines: int = 10_000, **wanted: str) -> list[str]:
    return [record.text async for record in store.tail("app1", lines, **wanted)]  # type: ignore[arg-type]


async def test_records_come_back_in_the_order_they_were_appended(store: LogStore, record: Make) -> None:
    await asyncio.gather(*(store.append("app1", [record(str(i))]) for i in range(500)))
    assert await texts(store) == [str(i) for i in range(500)]
    assert await texts(store, 3) == ["497", "498", "499"]
    assert await texts(store, 0) == []


async def test_apps_do_not_see_each_other(store: LogStore, record: Make) -> None:
    await asyncio.gather(store.append("app1", [record("one")]), store.append("app2", [record("two")]))
    assert await texts(store) == ["one"]


async def test_an_app_without_output_has_an_empty_log(store: LogStore, tmp_path: Path) -> None:
    assert await texts(store) == []
    assert not (tmp_path / "logs").exists()


async def test_history_finds_the_last_lines_of_one_process_among_many_of_others(
    store: LogStore, record: Make
) -> None:
    for i in range(20):
        await store.append("app1", [record(f"web {i}", process="web.1")])
        await store.append(
            "app1", [record("x" * 500, process="worker.1", source="cygni") for _ in range(100)]
        )
    assert await texts(store, 3, process="web.1") == ["web 17", "web 18", "web 19"]
    assert await texts(store, 2, process="web") == ["web 18", "web 19"]
    assert await texts(store, process="we") == []
    assert len(await texts(store, source="cygni")) == 2000


@pytest.mark.parametrize("name", ["../other", "", "a/b", ".", "a" * 200, "a\0"])
async def test_an_id_cannot_leave_the_directory(store: LogStore, record: Make, name: str) -> None:
    with pytest.raises(ValueError, match="not an app's id"):
        await store.append(name, [record("x")])


async def test_a_follower_gets_history_then_live_lines_without_gap_or_repetition(
    tmp_path: Path, record: Make
) -> None:
    """Followers that start at any moment while two writers append and segments rotate see each line once."""
    async with LogStore(tmp_path, LogLimits(segment_bytes=2000)) as store:
        total, seen = 2000, []

        async def write() -> None:
            for i in range(total):
                await store.append("app1", [record(str(i))])

        async def follow() -> None:
            async with aclosing(store.tail("app1", 10_000, follow=True)) as records:
                got = []
                async for each in records:
                    got.append(int(each.text))
                    if got[-1] == total - 1:
                        break
                seen.append(got)

        writer = asyncio.create_task(write())
        followers = []
        for _ in range(5):
            followers.append(asyncio.create_task(follow()))
            await asyncio.sleep(0.02)
        await asyncio.gather(writer, *followers)
        assert seen == [list(range(total))] * 5


async def test_a_slow_follower_does_not_hold_up_writers_and_is_told_what_it_missed(
    tmp_path: Path, record: Make
) -> None:
    limits = LogLimits(segment_bytes=10_000, total_bytes=30_000)
    async with LogStore(tmp_path, limits) as store:
        await store.append("app1", [record("first")])
        async with aclosing(store.tail("app1", 1, follow=True)) as records:
            assert (await anext(records)).text == "first"
            for i in range(100):
                await asyncio.wait_for(store.append("app1", [record("y" * 1000), record(str(i))]), 5)
            missed = await anext(records)
            assert missed.source == "cygni"
            count = int(missed.text.partition(" lines were removed")[0])
            rest: list[str] = []
            while not rest or rest[-1] != "99":
                rest.append((await anext(records)).text)
            assert count + len(rest) == 200
            assert [text for text in rest if len(text) < 5] == [
                str(i) for i in range(100 - len(rest) // 2, 100)
            ]


async def test_old_segments_go_by_size_and_the_newest_always_stays(tmp_path: Path, record: Make) -> None:
    async with LogStore(tmp_path, LogLimits(segment_bytes=1000, total_bytes=5000)) as store:
        for i in range(200):
            await store.append("app1", [record(f"{i:050}")])
        assert sum(path.stat().st_size for path in (tmp_path / "app1").glob("*.log")) <= 6500
        kept = await texts(store)
        assert kept[-1] == f"{199:050}"
        assert 20 < len(kept) < 60


async def test_old_segments_go_by_age_even_if_nothing_is_written_any_more(
    tmp_path: Path, record: Make
) -> None:
    limits = LogLimits(segment_age=timedelta(0), total_age=timedelta(0))
    async with LogStore(tmp_path, limits) as store:
        await store.append("app1", [record("old")])
        assert await texts(store) == ["old"]
        await store.sweep()
        assert await texts(store) == []
        await store.append("app1", [record("new")])
        assert await texts(store) == ["new"]


async def test_a_log_is_the_same_after_reopening(tmp_path: Path, record: Make) -> None:
    for i in range(3):
        async with LogStore(tmp_path, LogLimits(segment_bytes=100)) as store:
            await store.append("app1", [record(f"{i} {text}") for text in "abc"])
            assert await texts(store) == [f"{j} {text}" for j in range(i + 1) for text in "abc"]


async def test_a_torn_last_line_is_neither_shown_nor_joined_to_the_next(tmp_path: Path, record: Make) -> None:
    async with LogStore(tmp_path) as store:
        await store.append("app1", [record("whole")])
    segment = next((tmp_path / "app1").glob("*.log"))
    with segment.open("ab") as file:
        file.write(b"2026-01-02T03:04:05.678901+00:00 app[web.1]: to")
    async with LogStore(tmp_path) as store:
        assert await texts(store) == ["whole"]
        await store.append("app1", [record("next")])
        assert await texts(store) == ["whole", "next"]


async def test_a_damaged_block_costs_only_its_own_lines(tmp_path: Path, record: Make) -> None:
    async with LogStore(tmp_path) as store:
        await store.append("app1", [record("a")])
    segment = next((tmp_path / "app1").glob("*.log"))
    with segment.open("ab") as file:
        file.write(b"\0" * 300_000 + b"\n")
    async with LogStore(tmp_path) as store:
        await store.append("app1", [record("b")])
        assert await texts(store) == ["a", "b"]


async def test_removing_a_log_ends_its_followers_and_leaves_nothing(
    store: LogStore, record: Make, tmp_path: Path
) -> None:
    await store.append("app1", [record("x")])
    got: list[str] = []

    async def follow() -> None:
        got.extend([each.text async for each in store.tail("app1", 10, follow=True)])

    follower = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    await store.remove("app1")
    await asyncio.wait_for(follower, 5)
    assert got == ["x"]
    assert list((tmp_path / "logs").iterdir()) == []
    await store.remove("app1")
    await store.append("app1", [record("somebody's last word about an app that is gone")])
    assert list((tmp_path / "logs").iterdir()) == []


async def test_closing_ends_followers_keeps_what_was_queued_and_refuses_more(
    tmp_path: Path, record: Make
) -> None:
    store = LogStore(tmp_path)
    appends = [asyncio.create_task(store.append("app1", [record(str(i))])) for i in range(50)]
    await asyncio.sleep(0)
    follower = asyncio.create_task(anext(store.tail("app2", 0, follow=True), None))
    await asyncio.sleep(0.05)
    await store.close()
    await asyncio.gather(*appends)
    assert await asyncio.wait_for(follower, 5) is None
    with pytest.raises(LogStoreError, match="closed"):
        await store.append("app1", [record("late")])
    await store.close()
    assert len(AppLog(tmp_path / "app1", LogLimits()).last(100, Filter())[0]) == 50


async def test_a_full_disk_is_an_error_that_leaves_whole_lines(record: Make) -> None:
    """/dev/full refuses every write; here the directory is a file, as any refusal of the system."""
    blocked = Path("/dev/full")
    async with LogStore(blocked) as store:
        with pytest.raises(LogStoreError, match="log cannot be"):
            await store.append("app1", [record("x")])


async def test_a_write_that_the_system_cuts_short_is_taken_back(tmp_path: Path, record: Make) -> None:
    """A file size limit makes the kernel write half a batch: what was stored before stays whole."""
    program = (
        "import asyncio, resource, signal, sys; from datetime import datetime, UTC; from pathlib import Path\n"
        "from cygni.logs.store import LogStore; from cygni.logs.records import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "async def main():\n"
        "    async with LogStore(Path(sys.argv[1])) as store:\n"
        "        r = lambda t: LogRecord(datetime.now(UTC), 'app', 'web.1', t)\n"
        "        await store.append('app1', [r('fits')])\n"
        "        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))\n"
        "        try: await store.append('app1', [r('z' * 9000)])\n"
        "        except LogStoreError as error: print(error)\n"
        "        await store.append('app1', [r('small')])\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        program,
        str(tmp_path),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await child.communicate()
    assert b"File too large" in out, err
    async with LogStore(tmp_path) as store:
        assert await texts(store) == ["fits", "small"]


@pytest.mark.kill
async def test_every_acknowledged_record_survives_sigkill(tmp_path: Path, record: Make) -> None:
    program = (
        "import asyncio, sys; from datetime import datetime, UTC; from pathlib import Path\n"
        "from cygni.logs.store import LogStore; from cygni.logs.records import *\n"
        "async def main():\n"
        "    store = LogStore(Path(sys.argv[1]), LogLimits(segment_bytes=20_000))\n"
        "    for i in range(10**9):\n"
        "        await store.append('app1', [LogRecord(datetime.now(UTC), 'app', 'web.1', f'{i}')])\n"
        "        print(i, flush=True)\n"
        "asyncio.run(main())\n"
    )
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert child.stdout is not None
    acknowledged = -1
    while acknowledged < 700:
        acknowledged = int(await asyncio.wait_for(child.stdout.readline(), 30))
    os.kill(child.pid, signal.SIGKILL)
    rest = (await child.stdout.read()).split(b"\n")[:-1]
    await child.wait()
    acknowledged = int(rest[-1]) if rest else acknowledged
    async with LogStore(tmp_path) as store:
        stored = [int(text) for text in await texts(store)]
        assert stored == list(range(len(stored)))
        assert len(stored) in {acknowledged + 1, acknowledged + 2}


async def test_a_cancelled_append_does_not_stop_the_others(store: LogStore, record: Make) -> None:
    doomed = asyncio.create_task(store.append("app1", [record("a")]))
    await asyncio.sleep(0)
    doomed.cancel()
    await store.append("app1", [record("b")])
    assert await texts(store) in (["a", "b"], ["b"])


async def test_a_record_that_cannot_be_stored_fails_its_own_append_and_the_writer_lives_on(
    store: LogStore, record: Make
) -> None:
    with pytest.raises(ValueError, match="not a log source"):
        await store.append("app1", [record("x", process="a b")])
    await store.append("app1", [record("y")])
    assert await texts(store) == ["y"]
