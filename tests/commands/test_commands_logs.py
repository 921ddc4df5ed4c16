"""Logs over SSH: history, filters, following without gap or repetition, and readers that are too slow."""

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from apps import app
from tests_support import Repository, Server, eventually

from cygni.logs import Collector, Filter, LogRecord, LogStore
from cygni.logs.records import LogLimits
from deployer.manifest import Manifest, Process
from deployer.memory import Machine, MemoryEngine, Program

LINES = [f"line {n}" for n in range(30)]


@pytest.fixture(scope="module")
def chatty(server: Server) -> str:
    """An app that says 30 lines when it starts."""
    files = {**app(), "cygni-memory.json": json.dumps({"lines": LINES})}
    server.push(Repository(server.data.parent / "chatty", files), "chatty")
    eventually(lambda: "line 29" in server.ssh("logs", "chatty").stdout)
    return "chatty"


def test_lines_look_as_they_do_elsewhere(server: Server, chatty: str) -> None:
    first = server.ssh("logs", chatty, "-s", "app").stdout.splitlines()[0]
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00 app\[web\.1\]: line 0", first)


def texts(server: Server, *words: str) -> list[str]:
    return [json.loads(line)["text"] for line in server.ssh("logs", *words, "--json").stdout.splitlines()]


def test_history_is_chosen_by_number_process_source_text_and_time(server: Server, chatty: str) -> None:
    assert texts(server, chatty, "-s", "app", "-n", "3") == LINES[-3:]
    assert texts(server, chatty, "-p", "web", "-n", "1") == texts(server, chatty, "-p", "web.1", "-n", "1")
    assert texts(server, chatty, "-p", "worker") == []
    assert texts(server, chatty, "--grep", "'LINE 2'") == ["line 2", *LINES[20:]]
    assert texts(server, chatty, "--grep", "line.2") == []
    assert any("Release v1 created by tester" in text for text in texts(server, chatty, "-s", "cygni"))
    later = (datetime.now(UTC) + timedelta(minutes=1)).isoformat()
    assert texts(server, chatty, "--since", "1h", "-s", "app") == LINES
    assert texts(server, chatty, "--since", later) == []
    assert texts(server, chatty, "--until", "1h") == []
    middle = json.loads(server.ssh("logs", chatty, "--grep", "'line 15'", "--json").stdout)["at"]
    assert texts(server, chatty, "-s", "app", "--until", middle)[-1] == "line 15"
    assert texts(server, chatty, "-s", "app", "--since", middle)[0] == "line 15"


@contextmanager
def tailing(server: Server, *words: str) -> Iterator[list[str]]:
    """Follow a log in the background; the list grows."""
    command = ["ssh", *server.ssh_options(), "-p", str(server.ports["ssh_port"]), "cygni@127.0.0.1"]
    process = subprocess.Popen([*command, "logs", *words, "-t"], stdout=subprocess.PIPE, text=True)
    seen: list[str] = []
    assert process.stdout is not None
    reader = threading.Thread(target=lambda: seen.extend(iter(process.stdout.readline, "")))  # type: ignore[union-attr]
    reader.start()
    try:
        yield seen
    finally:
        process.terminate()
        process.wait(10)
        reader.join(10)
        process.stdout.close()


def test_following_is_history_then_news_across_releases(server: Server, chatty: str) -> None:
    with tailing(server, chatty, "-n", "30", "-s", "app") as seen:
        eventually(lambda: len(seen) == 30)
        server.ssh("ps:restart", chatty)
        server.ssh("config:set", "-a", chatty, "A=1")
        eventually(lambda: len(seen) >= 90)
    assert [line.partition("]: ")[2].strip() for line in seen[:90]] == LINES * 3


def test_colour_and_width_come_only_for_a_terminal(server: Server, chatty: str) -> None:
    plain = server.ssh("logs", chatty, "-n", "1").stdout
    assert "\x1b" not in plain
    coloured = server.ssh("--", "--client=colour", "logs", chatty, "-n", "1").stdout
    assert re.match(r"\x1b\[3\dm20.*\]:\x1b\[0m ", coloured)
    narrow = server.ssh("--", "--client=columns:40", "releases", chatty).stdout.splitlines()
    assert max(map(len, narrow[2:])) == 40


# The store under load


def record(n: int) -> LogRecord:
    return LogRecord(datetime.now(UTC), "app", "web.1", f"line {n}")


async def test_a_reader_that_stands_still_is_told_exactly_how_many_lines_it_missed(tmp_path: Path) -> None:
    limits = LogLimits(segment_bytes=64 << 10, total_bytes=256 << 10)
    async with LogStore(tmp_path, limits) as store:
        await store.append("app1", [record(0)])
        batches = store.batches("app1", 1, Filter(), follow=True)
        assert [item.text for item in await anext(batches)] == ["line 0"]
        for start in range(1, 20_001, 500):
            await store.append("app1", [record(n) for n in range(start, start + 500)])
        told = [item.text async for batch in batches for item in batch if not _is_last(item, store)]
    missed = int(told[0].partition(" lines were removed")[0].replace(",", ""))
    assert told[1] == f"line {missed + 1}"
    assert told[-1] == "line 20000"


def _is_last(item: LogRecord, store: LogStore) -> bool:
    if item.text == "line 20000":
        asyncio.get_running_loop().create_task(store.close())
    return False


async def test_500_instances_are_collected_at_once_without_a_thread_each(tmp_path: Path) -> None:
    machine = Machine(lambda image, command: Program(lines=("one", "two", "three")))
    engine = MemoryEngine(machine, "collected")
    process = Process("worker", ("worker",), 1)
    async with LogStore(tmp_path) as store:
        collector = Collector(engine, store)
        for n in range(500):
            manifest = Manifest(
                app_id=f"app{n}", app=f"app{n}", release=1, image="i", processes=(process,), env={}
            )
            await collector.track(await engine.start(manifest, process, 1))
        async with asyncio.timeout(60):
            for n in range(500):
                while [item.text async for item in store.tail(f"app{n}", 10)] != ["one", "two", "three"]:
                    await asyncio.sleep(0.01)
        assert threading.active_count() < 50
        await collector.stop()
    machine.close()


async def test_500_logs_are_followed_at_once_without_a_thread_each(tmp_path: Path) -> None:
    async with LogStore(tmp_path) as store:
        seen: list[str] = []

        async def follow(name: str) -> None:
            async for item in store.tail(name, 10, follow=True):
                seen.append(item.text)
                return

        followers = [asyncio.create_task(follow(f"app{n}")) for n in range(500)]
        await asyncio.gather(*[store.append(f"app{n}", [record(n)]) for n in range(500)])
        most = threading.active_count()
        await asyncio.gather(*followers)
        assert sorted(seen) == sorted(f"line {n}" for n in range(500))
        assert most < 50
