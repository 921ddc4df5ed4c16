"""The server's own memory stays small whatever goes through it: measured in a process of its own."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import sys
import zlib
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from gitserver import pktline
from gitserver.ports import ZERO_ID

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.gitserver.conftest import Door

SERVE = Path(__file__).with_name("serve.py")
MEGABYTE = 1 << 20
GROWTH = 20 * MEGABYTE


class Measured:
    """A server process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, directory: Path) -> None:
        self.pid = process.pid
        self.port = port
        self.bare = directory / "repositories" / "id-shop.git"

    @property
    def url(self) -> str:
        return f"ssh://cygni@127.0.0.1:{self.port}/shop"

    def status(self, field: str) -> int:
        text = Path(f"/proc/{self.pid}/status").read_text()
        return next(int(line.split()[1]) * 1024 for line in text.splitlines() if line.startswith(field))

    @property
    def resident(self) -> int:
        return self.status("VmRSS:")

    @property
    def peak(self) -> int:
        return self.status("VmHWM:")

    def reset_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def receivers(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                if (
                    b"receive-pack" in (entry / "cmdline").read_bytes()
                    and str(self.bare).encode() in (entry / "cmdline").read_bytes()
                ):
                    found.append(int(entry.name))
        return found


@pytest.fixture
async def measured(door: Door) -> AsyncIterator[Measured]:
    directory = door.root / "measured"
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVE), str(directory), f"{door.key}.pub", "accept",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout is not None
    port = int(await asyncio.wait_for(process.stdout.readline(), 30))
    try:
        yield Measured(process, port, directory)
    finally:
        process.kill()
        await process.communicate()


async def settled(value: Callable[[], int], seconds: float = 30) -> int:
    """Wait until a number has not changed for half a second, and return it."""
    last, unchanged = value(), 0
    async with asyncio.timeout(seconds):
        while unchanged < 5:
            await asyncio.sleep(0.1)
            now = value()
            unchanged = unchanged + 1 if now == last else 0
            last = now
    return last


def big_pack(megabytes: int) -> bytes:
    """A pack of one incompressible blob, stored."""
    body = os.urandom(megabytes * MEGABYTE)
    size, head = len(body), bytearray()
    byte = (3 << 4) | (size & 15)
    size >>= 4
    while size:
        head.append(byte | 128)
        byte, size = size & 127, size >> 7
    head.append(byte)
    pack = b"PACK\0\0\0\2\0\0\0\1" + bytes(head) + zlib.compress(body, 0)
    return pack + hashlib.sha1(pack).digest()


async def test_a_push_and_a_clone_of_50_mb_grow_the_server_by_less_than_20(
    door: Door, measured: Measured
) -> None:
    work = await door.work()
    await door.good("config", "core.compression", "0", cwd=work)
    await door.good("push", measured.url, "main", cwd=work)
    await door.good("clone", "-q", measured.url, "small")
    before = measured.resident
    measured.reset_peak()
    for number in range(25):
        (work / f"asset{number}").write_bytes(os.urandom(2 * MEGABYTE))
    await door.good("add", ".", cwd=work)
    await door.commit(work, "assets")
    await door.good("push", measured.url, "main", cwd=work)
    assert measured.peak - before < GROWTH, f"push: {(measured.peak - before) / MEGABYTE:.1f} MB"
    measured.reset_peak()
    await door.good("clone", "-q", "--bare", measured.url, "copy")
    assert measured.peak - before < GROWTH, f"clone: {(measured.peak - before) / MEGABYTE:.1f} MB"


async def test_a_receiver_that_stops_reading_stops_the_client_not_the_servers_memory(
    door: Door, measured: Measured
) -> None:
    """The library's window accounting leaks with small reads; ours must not."""
    pack = big_pack(60)
    async with await door.connect(port_override=measured.port) as connection:
        process = await connection.create_process("git-receive-pack 'shop'", encoding=None)
        await process.stdout.readexactly(4)
        before = measured.resident
        for pid in measured.receivers():
            os.kill(pid, signal.SIGSTOP)
        header = pktline.frame(f"{ZERO_ID} {'1' * 40} refs/heads/main\0 report-status".encode()) + b"0000"
        process.stdin.write(header + pack)
        grown = await settled(lambda: measured.resident) - before
        assert grown < GROWTH, f"{grown / MEGABYTE:.1f} MB"
        assert process.channel.get_write_buffer_size() > 30 * MEGABYTE
        for pid in measured.receivers():
            os.kill(pid, signal.SIGCONT)
        async with asyncio.timeout(30):
            assert b"unpack ok" in await process.stdout.read()


async def test_a_client_with_a_huge_window_that_stops_reading_does_not_fill_the_server(
    door: Door, measured: Measured
) -> None:
    work = await door.work()
    await door.good("config", "core.compression", "0", cwd=work)
    (work / "asset").write_bytes(os.urandom(60 * MEGABYTE))
    await door.good("add", ".", cwd=work)
    await door.commit(work, "asset")
    await door.good("push", measured.url, "main", cwd=work)
    tip = (await door.good("rev-parse", "HEAD", cwd=work)).strip()
    before = measured.resident
    connection = await door.connect(port_override=measured.port)
    process = await connection.create_process("git-upload-pack 'shop'", encoding=None, window=1 << 30)
    process.stdin.write(
        pktline.frame(f"want {tip} ofs-delta\n".encode()) + b"0000" + pktline.frame(b"done\n")
    )
    await process.stdout.readexactly(4)
    connection._transport.pause_reading()  # type: ignore[union-attr]
    grown = await settled(lambda: measured.resident) - before
    connection.abort()
    assert grown < GROWTH, f"{grown / MEGABYTE:.1f} MB"
