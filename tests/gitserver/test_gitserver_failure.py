"""Clients, children and servers that die at each phase: the ref, the quarantine, the slot and the processes after it."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gitserver.ports import ZERO_ID, Client, Push, Verdict
from gitserver.testing import accept

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gitserver.conftest import Door

SERVE = Path(__file__).with_name("serve.py")


def receive_packs(path: Path) -> list[int]:
    """Process ids of everything that works on a repository."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            if (
                str(path).encode() in (entry / "cmdline").read_bytes()
                and (entry / "stat").read_text().split()[2] != "Z"
            ):
                found.append(pid)
    return found


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


class Hold:
    """A handler that waits for the client to leave, then talks a lot, then accepts."""

    def __init__(self) -> None:
        self.gone = asyncio.Event()
        self.lines = 0

    async def __call__(self, push: Push, client: Client) -> Verdict:
        await client.line("-----> Building")
        await client.wait_gone()
        self.gone.set()
        for _ in range(20_000):  # more than every pipe on the way holds
            await client.line("x" * 100)
            self.lines += 1
        return Verdict(accepted=True)


async def test_a_client_killed_during_the_build_detaches_and_the_ref_moves(door: Door) -> None:
    hold = Hold()
    door.pushes.received_by = hold
    work = await door.work()
    process = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await door.pushes.until(lambda: len(door.pushes.pushes) == 1)
    os.killpg(process.pid, signal.SIGKILL)
    await asyncio.wait_for(hold.gone.wait(), 20)
    await door.pushes.until(lambda: len(door.pushes.finishes) == 1)
    push, moved = door.pushes.finishes[0]
    assert moved
    assert hold.lines == 20_000
    assert await door.refs() == {"refs/heads/main": push.updates[0].new}


async def test_a_client_killed_while_it_sends_leaves_nothing(door: Door, raw: Callable[[str], Any]) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    packs, refs = door.packs(), await door.refs()
    client = await raw("shop")
    await client.advertisement()
    command = f"{ZERO_ID} {'1' * 40} refs/heads/other\0 report-status side-band-64k\n".encode()
    client.send(b"%04x" % (len(command) + 4), command, b"0000", b"PACK\0\0\0\2\0\0\0\x09", b"\x95" * 5000)
    await until(lambda: bool(door.left_behind()))
    client.process.channel.get_connection().abort()
    await until(lambda: not receive_packs(door.bare()))
    await until(lambda: not door.left_behind())
    assert door.packs() == packs
    assert await door.refs() == refs
    assert len(door.pushes.checked) == 1
    await door.good("push", "cygni", "main:topic", cwd=work)


async def test_receive_pack_killed_during_the_build_is_swept_and_told(door: Door) -> None:
    cancelled = asyncio.Event()

    async def build(push: Push, client: Client) -> Verdict:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return Verdict(accepted=True)

    door.pushes.received_by = build
    work = await door.work()
    process = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await door.pushes.until(lambda: len(door.pushes.pushes) == 1)
    for pid in receive_packs(door.bare()):
        os.kill(pid, signal.SIGKILL)
    _, err = await process.communicate()
    assert process.returncode != 0
    assert b"ended by signal 9" in err
    assert cancelled.is_set()
    assert [moved for _, moved in door.pushes.finishes] == [False]
    assert door.left_behind() == []
    assert await door.refs() == {}
    assert not receive_packs(door.bare())
    door.pushes.received_by = accept
    await door.good("push", "cygni", "main", cwd=work)


async def test_closing_refuses_a_push_that_is_still_built_with_a_sentence(door: Door) -> None:
    async def forever(push: Push, client: Client) -> Verdict:
        await asyncio.Event().wait()
        return Verdict(accepted=True)

    door.pushes.received_by = forever
    work = await door.work()
    process = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await door.pushes.until(lambda: len(door.pushes.pushes) == 1)
    await door.server.close(grace=0.1)
    _, err = await process.communicate()
    assert b"remote:  !     The server is restarting. Nothing was changed" in err
    assert b"[remote rejected] main -> main (pre-receive hook declined)" in err
    assert [moved for _, moved in door.pushes.finishes] == [False]
    assert await door.refs() == {}
    assert door.left_behind() == []


async def test_closing_lets_a_running_push_finish_and_accepts_no_other(door: Door) -> None:
    release = asyncio.Event()

    async def build(push: Push, client: Client) -> Verdict:
        await release.wait()
        return Verdict(accepted=True)

    door.pushes.received_by = build
    work = await door.work()
    port = door.server.port
    process = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await door.pushes.until(lambda: len(door.pushes.pushes) == 1)
    closing = asyncio.create_task(door.server.close(grace=20))
    refused = await door.git("ls-remote", f"ssh://cygni@127.0.0.1:{port}/shop")
    assert "Connection refused" in refused.err
    release.set()
    await closing
    _, err = await process.communicate()
    assert process.returncode == 0, err
    assert len(await door.refs()) == 1


async def test_closing_ends_commands_and_idle_connections(door: Door) -> None:
    connection = await door.connect()
    process = await connection.create_process("wait")
    await asyncio.wait_for(door.commands.started.wait(), 20)
    await door.server.close(grace=0.1)
    assert door.commands.cancelled.is_set()
    assert "restarting" in await process.stderr.read()
    await asyncio.wait_for(connection.wait_closed(), 10)


async def test_a_server_killed_during_the_build_leaves_no_process_and_no_ref(door: Door) -> None:
    """The hook reads the end of its pipe and refuses; the left quarantine is for the next start's sweep."""
    server = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVE), str(door.root / "second"), str(door.key) + ".pub", "hang",
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        port = int(await asyncio.wait_for(server.stdout.readline(), 30))
        work = await door.work()
        process = await door.spawn("git", "push", f"ssh://cygni@127.0.0.1:{port}/shop", "main", cwd=work)
        assert process.stderr is not None
        assert b"hanging" in await asyncio.wait_for(process.stderr.readline(), 20)
        bare = door.root / "second" / "repositories" / "id-shop.git"
        assert receive_packs(bare)
    finally:
        server.kill()
        await server.wait()
    await process.communicate()
    assert process.returncode != 0
    await until(lambda: not receive_packs(bare))
    assert not list((bare / "refs" / "heads").iterdir())


async def test_a_stalled_reader_is_dropped_and_the_push_goes_on(
    door: Door, raw: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client that keeps its connection but takes no output must not hold the slot for ever."""
    done = asyncio.Event()

    async def chatty(push: Push, client: Client) -> Verdict:
        for _ in range(60_000):
            await client.line("x" * 100)
        done.set()
        return Verdict(accepted=True)

    door.pushes.received_by = chatty
    monkeypatch.setattr("gitserver.receive.STALL_SECONDS", 0.3)
    work = await door.work("stalled")
    tip = (await door.good("rev-parse", "HEAD", cwd=work)).strip()
    pack = await asyncio.create_subprocess_shell(
        "git pack-objects --stdout --revs -q", cwd=work, stdin=-1, stdout=-1
    )
    data, _ = await pack.communicate(f"{tip}\n".encode())
    client = await raw("shop")
    await client.advertisement()
    client.process.channel.pause_reading()
    command = f"{ZERO_ID} {tip} refs/heads/main\0 report-status side-band-64k\n".encode()
    client.send(b"%04x" % (len(command) + 4), command, b"0000", data)
    await asyncio.wait_for(done.wait(), 30)
    await door.pushes.until(lambda: len(door.pushes.finishes) == 1)
    assert await door.refs() == {"refs/heads/main": tip}


@pytest.mark.parametrize("sent", [b"", b"header"])
async def test_a_client_that_never_goes_on_gives_the_slot_back(
    door: Door, raw: Callable[[str], Any], monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    monkeypatch.setattr("gitserver.receive.HEADER_SECONDS", 0.5)
    monkeypatch.setattr("gitserver.receive.INGEST_SECONDS", 0.5)
    client = await raw("shop")
    await client.advertisement()
    if sent:
        command = f"{ZERO_ID} {'1' * 40} refs/heads/other\0 report-status side-band-64k\n".encode()
        client.send(b"%04x" % (len(command) + 4), command, b"0000", b"PACK\0\0\0\2\0\0\0\x09", b"\x95" * 5000)
    monkeypatch.setattr("gitserver.receive.HEADER_SECONDS", 3600)
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    assert b"ended by signal 9" in await client.process.stderr.read()
    assert door.left_behind() == []
