import asyncio
import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cygni.logs import collector as collector_module
from cygni.logs.collector import Collector, LogSource
from cygni.logs.records import LogLimits
from cygni.logs.store import LogStore
from deployer.ports import Engine, EngineError, Instance, LogLine

if TYPE_CHECKING:

    def _an_engine_is_a_log_source(engine: Engine) -> LogSource:
        return engine


START = datetime(2026, 1, 2, tzinfo=UTC)


def instance(name: str = "i1", number: int = 1) -> Instance:
    return Instance(name, "app1", "shop", 1, "web", number, "running")


def line(text: str, seconds: float) -> LogLine:
    return LogLine(START + timedelta(seconds=seconds), "stdout", text)


class Tape:
    """An engine's retained output: replays what is after `since`, then ends or goes on as told."""

    def __init__(self, lines: Sequence[LogLine]) -> None:
        self.lines = list(lines)
        self.more = asyncio.Condition()
        self.ended = False
        self.break_after: int | None = None
        self.asked: list[datetime | None] = []

    async def add(self, *lines: LogLine) -> None:
        async with self.more:
            self.lines += lines
            self.more.notify_all()

    async def end(self) -> None:
        async with self.more:
            self.ended = True
            self.more.notify_all()

    async def logs(
        self, instance: Instance, since: datetime | None, *, follow: bool
    ) -> AsyncIterator[LogLine]:
        self.asked.append(since)
        position = given = 0
        while True:
            while position < len(self.lines):
                each = self.lines[position]
                position += 1
                if since is None or each.at > since:
                    if given == self.break_after:
                        raise EngineError("the connection broke", transient=True)
                    given += 1
                    yield each
            async with self.more:
                if self.ended or not follow:
                    return
                if position == len(self.lines):
                    await self.more.wait()


async def texts(store: LogStore) -> list[str]:
    return [record.text async for record in store.tail("app1", 10_000)]


async def until(store: LogStore, count: int) -> list[str]:
    async with asyncio.timeout(10):
        seen = []
        async for record in store.tail("app1", 10_000, follow=True):
            seen.append(record.text)
            if len(seen) == count:
                break
        return seen


async def test_an_instances_output_is_stored_under_its_name(store: LogStore) -> None:
    tape = Tape([line("hello", 0)])
    collector = Collector(tape, store)
    await collector.track(instance(number=4))
    await until(store, 1)
    record = await anext(store.tail("app1", 1))
    assert (record.source, record.process, record.at) == ("app", "web.4", START)
    await collector.stop()


async def test_tracking_twice_stores_once(store: LogStore) -> None:
    tape = Tape([line("hello", 0)])
    collector = Collector(tape, store)
    await asyncio.gather(*(collector.track(instance()) for _ in range(5)))
    await until(store, 1)
    await tape.end()
    await collector.finish(instance(), 5)
    assert await texts(store) == ["hello"]
    assert len(tape.asked) == 1


async def test_an_instance_that_nobody_followed_is_read_at_its_end_and_only_once(store: LogStore) -> None:
    tape = Tape([line("too quick", 0), line("bye", 1)])
    await tape.end()
    collector = Collector(tape, store)
    for _ in range(3):
        await collector.finish(instance(), 5)
    assert await texts(store) == ["too quick", "bye"]


async def test_an_end_without_an_end_of_its_output_is_not_waited_for(store: LogStore) -> None:
    tape = Tape([line("hello", 0)])
    collector = Collector(tape, store)
    async with asyncio.timeout(5):
        await collector.finish(instance(), 0.2)
    assert await texts(store) == ["hello"]


async def test_a_restart_resumes_without_loss_or_repetition_at_any_point(tmp_path: Path) -> None:
    """Equal lines, equal instants, lines out of order by less than a second, a line that is split."""
    generator = random.Random(7)
    lines = [line(f"{i // 3}", i // 7 / 1000 + generator.random() / 2) for i in range(3000)]
    lines[1500] = line("é" * 12_000, 1)
    tape = Tape([])
    for start in range(0, 3000, 300):
        async with LogStore(tmp_path, LogLimits(segment_bytes=30_000)) as store:
            collector = Collector(tape, store)
            await collector.track(instance())
            await tape.add(*lines[start : start + 300])
            await asyncio.sleep(generator.random() / 50)
            await collector.stop()
    await tape.end()
    async with LogStore(tmp_path) as store:
        collector = Collector(tape, store)
        await collector.track(instance())
        await collector.finish(instance(), 10)
        stored = await texts(store)
    expected = [each.text for each in lines]
    expected[1500:1501] = ["é" * 5000, "é" * 5000, "é" * 2000]
    assert sorted(stored) == sorted(expected)
    assert stored == expected


async def test_a_long_running_instance_is_not_asked_for_everything_again(tmp_path: Path) -> None:
    tape = Tape([line(str(i), i) for i in range(100)])
    for start in range(1, 3):
        async with LogStore(tmp_path) as store:
            collector = Collector(tape, store)
            await collector.track(instance())
            await until(store, 100)
            async with asyncio.timeout(10):
                while len(tape.asked) < start:
                    await asyncio.sleep(0.01)
            await collector.stop()
    assert tape.asked == [None, START + timedelta(seconds=97)]


async def test_a_checkpoint_outlives_the_segments_of_a_silent_instance(tmp_path: Path) -> None:
    limits = LogLimits(segment_bytes=1000, total_bytes=3000)
    quiet, loud = Tape([line("quiet", 0)]), Tape([line("x" * 200, i) for i in range(100)])
    for round_ in range(2):
        async with LogStore(tmp_path, limits) as store:
            first = Collector(quiet, store)
            await first.track(instance("quiet"))
            if round_ == 0:
                await until(store, 1)
                second = Collector(loud, store)
                await second.track(instance("loud", 2))
                await loud.end()
                await second.finish(instance("loud", 2), 10)
            assert await store.checkpoint("app1", "quiet") == START
            await asyncio.sleep(0.05)
            await first.stop()
            assert "quiet" not in await texts(store)


async def test_a_broken_stream_is_taken_up_again_where_it_broke(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_module, "FIRST_PAUSE", 0.01)
    tape = Tape([line(str(i), i * 10) for i in range(20)])
    tape.break_after = 3
    collector = Collector(tape, store)
    await collector.track(instance())
    assert await until(store, 20) == [str(i) for i in range(20)]
    await collector.stop()
    assert await texts(store) == [str(i) for i in range(20)]
    assert len(tape.asked) >= 7


async def test_an_engine_that_never_answers_is_given_up_until_tracked_again(
    store: LogStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(collector_module, "FIRST_PAUSE", 0.0001)
    tape = Tape([line("x", 0)])
    tape.break_after = 0
    collector = Collector(tape, store)
    await collector.track(instance())
    async with asyncio.timeout(10):
        while collector._tasks:
            await asyncio.sleep(0.01)
    assert len(tape.asked) == collector_module.ATTEMPTS
    tape.break_after = None
    await collector.track(instance())
    assert await until(store, 1) == ["x"]
    await collector.stop()


async def test_finishing_waits_for_the_last_lines_and_forgetting_forgets(store: LogStore) -> None:
    tape = Tape([line(str(i), i) for i in range(5000)])
    collector = Collector(tape, store)
    await collector.track(instance())
    await tape.end()
    await collector.finish(instance(), 10)
    assert len(await texts(store)) == 5000
    await collector.forget("app1", "i1")
    assert await store.checkpoint("app1", "i1") is None


async def test_a_hundred_instances_need_no_thread_each(tmp_path: Path) -> None:
    import threading

    async with LogStore(tmp_path) as store:
        tapes = [Tape([line("x", 0)]) for _ in range(100)]
        collectors = [Collector(tape, store) for tape in tapes]
        before = threading.active_count()
        for i, each in enumerate(collectors):
            await each.track(instance(f"i{i}", i))
        await until(store, 100)
        assert threading.active_count() - before <= 10
        for each in collectors:
            await each.stop()


PROGRAM = """
import asyncio, sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from cygni.logs.collector import Collector
from cygni.logs.records import LogLimits
from cygni.logs.store import LogStore
from deployer.ports import Instance, LogLine

class Tape:
    async def logs(self, instance, since, *, follow):
        for i in range(40_000):
            at = datetime(2026, 1, 2, tzinfo=UTC) + timedelta(milliseconds=i // 4)
            if since is None or at > since:
                yield LogLine(at, "stdout", f"{i}")

async def main():
    async with LogStore(Path(sys.argv[1]), LogLimits(segment_bytes=100_000)) as store:
        collector = Collector(Tape(), store)
        each = Instance("i1", "app1", "shop", 1, "web", 1, "running")
        await collector.track(each)
        print("begun", flush=True)
        await collector.finish(each, 60)
asyncio.run(main())
"""


@pytest.mark.kill
async def test_a_collector_killed_at_any_moment_loses_and_doubles_nothing(tmp_path: Path) -> None:
    delay = 0.02
    for _ in range(30):
        child = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, str(tmp_path), stdout=asyncio.subprocess.PIPE
        )
        assert child.stdout is not None
        assert await child.stdout.readline() == b"begun\n"
        try:
            assert await asyncio.wait_for(child.wait(), delay) == 0
            break
        except TimeoutError:
            os.kill(child.pid, signal.SIGKILL)
            await child.wait()
            delay *= 1.5
    async with LogStore(tmp_path, LogLimits(tail_lines=100_000)) as store:
        stored = [int(record.text) async for record in store.tail("app1", 100_000)]
    assert stored == list(range(40_000))
