"""Clients that break the grammar, and packs that explode."""

from __future__ import annotations

import asyncio
import hashlib
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from gitserver import pktline
from gitserver.ports import ZERO_ID, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.gitserver.conftest import Door, Launch

ONE = "1" * 40


def command(
    ref: str, old: str = ZERO_ID, new: str = ONE, capabilities: str = "report-status side-band-64k"
) -> bytes:
    return pktline.frame(f"{old} {new} {ref}\0 {capabilities}".encode())


VIOLATIONS = [
    b"zzzz",
    b"0003",
    b"ffff" + b"x" * 100,
    b"0001",
    pktline.frame(b"push-cert\0atomic\n") + b"0000",
    pktline.frame(b"hello") + b"0000",
    pktline.frame(f"{ONE} {ONE}".encode()) + b"0000",
    pktline.frame(f"{ONE} {ONE} refs/heads/x\0".encode()) + b"0000",
    pktline.frame(b"shallow nonsense") + b"0000",
    command("refs/heads/../x") + b"0000",
    command("refs/heads/a\nb") + b"0000",
    command("refs/heads/x") + b"0000" + b"PACX\0\0\0\2\0\0\0\0",
    command("refs/heads/x") + b"0000" + b"PACK\0\0\0\2\xff\xff\xff\xff",
    command("refs/heads/x", capabilities="push-options") + b"0000" + pktline.frame(b"a\x1bb") + b"0000",
    command("refs/heads/x", new=ZERO_ID) + b"0000",
]


@pytest.mark.parametrize("sent", VIOLATIONS)
async def test_broken_grammar_ends_the_session_and_changes_nothing(
    door: Door, raw: Callable[[str], Any], sent: bytes
) -> None:
    client = await raw("shop")
    await client.advertisement()
    client.send(sent)
    client.process.stdin.write_eof()
    await client.rest()
    async with asyncio.timeout(20):
        await client.process.wait_closed()
    assert door.pushes.pushes == []
    assert await door.refs() == {}
    assert door.left_behind() == []


async def test_a_stale_old_id_is_refused_before_the_handler(door: Door, raw: Callable[[str], Any]) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    tip = (await door.refs())["refs/heads/main"]
    await door.commit(work, "second")
    await door.good("push", "cygni", "main:topic", cwd=work)
    newer = (await door.refs())["refs/heads/topic"]
    client = await raw("shop")
    await client.advertisement()
    empty_pack = b"PACK\0\0\0\2\0\0\0\0"
    client.send(
        command("refs/heads/main", newer, tip), b"0000", empty_pack, hashlib.sha1(empty_pack).digest()
    )
    said = await client.rest()
    assert b"Your push is based on " + newer[:7].encode() in said
    assert b"ng refs/heads/main pre-receive hook declined" in said
    assert len(door.pushes.checked) == 2


async def test_a_ref_to_a_missing_object_is_refused_before_the_handler(
    door: Door, raw: Callable[[str], Any]
) -> None:
    client = await raw("shop")
    await client.advertisement()
    empty_pack = b"PACK\0\0\0\2\0\0\0\0"
    client.send(command("refs/heads/main"), b"0000", empty_pack, hashlib.sha1(empty_pack).digest())
    said = await client.rest()
    assert b"Objects of refs/heads/main are missing" in said
    assert b"ng refs/heads/main missing necessary objects" in said
    assert door.pushes.checked == []


async def test_a_commit_without_its_files_is_refused_before_the_handler(door: Door) -> None:
    """git itself would refuse it only after the build."""
    work = await door.work()
    tip = (await door.good("rev-parse", "HEAD", cwd=work)).strip()
    raw_commit = (await door.good("cat-file", "commit", "HEAD", cwd=work)).encode()
    body = zlib.compress(raw_commit)
    pack = b"PACK\0\0\0\2\0\0\0\1" + _size(len(raw_commit), 4, 1) + body
    async with await door.connect() as connection:
        process = await connection.create_process("git-receive-pack 'shop'", encoding=None)
        process.stdin.write(
            command("refs/heads/main", new=tip) + b"0000" + pack + hashlib.sha1(pack).digest()
        )
        said = await process.stdout.read()
    assert b"ng refs/heads/main" in said
    assert door.pushes.checked == []
    assert door.left_behind() == []


async def test_an_endless_header_is_cut_off(door: Door, raw: Callable[[str], Any]) -> None:
    client = await raw("shop")
    await client.advertisement()
    frame = command("refs/heads/" + "x" * 200)
    for _ in range(20_000):
        client.send(frame)
    said = await client.process.stderr.read()
    assert b"names too many refs" in said
    assert door.pushes.checked == []


async def test_too_many_push_options_are_refused_with_the_number(door: Door) -> None:
    work = await door.work()
    options = [part for number in range(65) for part in ("-o", f"option{number}")]
    result = await door.git("push", *options, "cygni", "main", cwd=work)
    assert "more than 64 push options" in result.err
    result = await door.git("push", "-o", "x" * 1025, "cygni", "main", cwd=work)
    assert "longer than 1024 bytes" in result.err
    assert door.pushes.checked == []


def _size(value: int, first_bits: int, kind: int = 0) -> bytes:
    byte = (kind << 4) | (value & 15) if first_bits == 4 else value & 127
    value >>= first_bits
    out = bytearray()
    while value:
        out.append(byte | 128)
        byte, value = value & 127, value >> 7
    out.append(byte)
    return bytes(out)


def delta_bomb(base_bytes: int, copies: int) -> bytes:
    """A pack of a few kilobytes whose one delta expands to `base_bytes * copies`."""
    base = bytes(base_bytes)
    base_id = hashlib.sha1(b"blob %d\0" % base_bytes + base).digest()
    copy = b"\xf0" + base_bytes.to_bytes(3, "little")
    delta = _size(base_bytes, 7) + _size(base_bytes * copies, 7) + copy * copies
    pack = b"PACK" + (2).to_bytes(4, "big") + (2).to_bytes(4, "big")
    pack += _size(base_bytes, 4, 3) + zlib.compress(base)
    pack += _size(len(delta), 4, 7) + base_id + zlib.compress(delta)
    return pack + hashlib.sha1(pack).digest()


async def test_a_delta_bomb_meets_the_memory_limit(launch: Launch) -> None:
    door: Door = await launch(Limits(ingest_memory_bytes=400 << 20))
    pack = delta_bomb(15 << 20, 60)
    assert len(pack) < 20_000
    async with await door.connect() as connection:
        process = await connection.create_process("git-receive-pack 'shop'", encoding=None)
        process.stdin.write(command("refs/heads/main") + b"0000" + pack)
        async with asyncio.timeout(30):
            said = await process.stdout.read()
            errors = await process.stderr.read()
    assert b"unpack index-pack abnormal exit" in said
    assert b"memory" in said + errors
    assert door.pushes.checked == []
    assert door.left_behind() == []
    assert door.packs() == []


async def test_a_pack_over_the_limit_is_refused_and_the_reason_reaches_a_client_that_still_sends(
    launch: Launch,
) -> None:
    door: Door = await launch(Limits(pack_bytes=100_000))
    work = await door.work()
    import os

    (work / "big").write_bytes(os.urandom(8 << 20))
    await door.good("add", "big", cwd=work)
    await door.commit(work, "big one")
    result = await door.git("push", "cygni", "main", cwd=work)
    assert result.code == 1
    assert "pack exceeds maximum allowed size" in result.err
    assert "[remote rejected]" in result.err or "remote unpack failed" in result.err
    assert door.left_behind() == []
    (work / "small").write_text("small")
    await door.good("push", "cygni", "HEAD~1:refs/heads/main", cwd=work)


async def test_concurrent_ingests_are_limited_and_idle_clients_do_not_hold_a_place(launch: Launch) -> None:
    door: Door = await launch(Limits(concurrent_ingests=1))
    work = await door.work()
    async with await door.connect() as connection:
        idle = await connection.create_process("git-receive-pack 'idle'", encoding=None)
        await idle.stdout.readexactly(4)
        await door.good("push", "cygni", "main", cwd=work)
        sending = await connection.create_process("git-receive-pack 'sending'", encoding=None)
        sending.stdin.write(command("refs/heads/x") + b"0000" + b"PACK\0\0\0\2\0\0\0\1")
        await door.commit(work, "second")
        waiting = await door.spawn("git", "push", "cygni", "main", cwd=work)
        assert waiting.stderr is not None
        async with asyncio.timeout(20):
            while b"other pushes are being received" not in await waiting.stderr.readline():
                pass
        sending.close()
        await waiting.wait()
        connection.abort()
    assert waiting.returncode == 0
    assert len(door.pushes.finishes) == 2


async def test_nothing_of_a_name_reaches_a_path_or_a_shell(door: Door) -> None:
    for name in (
        "../../etc",
        "a/../b",
        "$(touch x)",
        "`id`",
        "shop;id",
        "a\\nb",
        "--upload-pack=x",
        "%2e%2e",
        "~root/x",
    ):
        result = await door.git("ls-remote", f"ssh://cygni@127.0.0.1:{door.server.port}/{name}")
        assert "fatal: remote error:" in result.err, (name, result.err)
    assert not (door.root / "repositories").exists()


async def test_a_pack_of_too_many_objects_is_not_fed_to_git_and_the_pusher_is_told(launch: Launch) -> None:
    door: Door = await launch(Limits(pack_objects=20))
    work = await door.work()
    for number in range(20):
        (work / f"file{number}").write_text(str(number))
    await door.good("add", "-A", cwd=work)
    await door.commit(work, "many")
    result = await door.git("push", "cygni", "main", cwd=work)
    assert result.code == 1
    assert " !     This push has 26 objects; a push may have 20." in result.err
    assert "remote rejected" in result.err
    assert door.pushes.checked == []
    assert door.left_behind() == []
    assert await door.refs() == {}
    await door.good("push", "cygni", "HEAD~1:refs/heads/main", cwd=work)


@pytest.mark.parametrize("kind", ["tag", "tree", "blob"])
async def test_a_branch_that_would_not_point_at_a_commit_is_refused_before_the_handler(
    door: Door, kind: str
) -> None:
    """git refuses it too, but only when it writes the ref, which is after a build."""
    work = await door.work()
    await door.good("tag", "-a", "v1", "-m", "one", cwd=work)
    what = {"tag": "v1", "tree": "main^{tree}", "blob": "main:file.txt"}[kind]
    oid = (await door.good("rev-parse", what, cwd=work)).strip()
    result = await door.git("push", "cygni", f"{oid}:refs/heads/main", cwd=work)
    assert result.code == 1
    assert f"can only point at a commit; {oid[:7]} is a {kind}" in result.err
    assert (f"git push REMOTE {oid[:7]}^{{}}:main" in result.err) == (kind == "tag")
    assert door.pushes.checked == []
    assert door.left_behind() == []
    assert door.packs() == []
