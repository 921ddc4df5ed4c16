"""Real clients: git over protocol 0, 1 and 2, libgit2, dulwich; clone, fetch, shallow and partial clone."""

from __future__ import annotations

import asyncio
import subprocess
from typing import TYPE_CHECKING, Any

import pygit2
import pytest
from dulwich import porcelain

from gitserver.ports import Client, Push, Verdict

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gitserver.conftest import Door

BOTH_WAYS = ("0", "1", "2")


@pytest.mark.parametrize("version", BOTH_WAYS)
async def test_push_fetch_and_clones_of_every_kind(door: Door, version: str) -> None:
    protocol = ("-c", f"protocol.version={version}")
    work = await door.work()
    for number in range(3):
        await door.commit(work, f"commit {number}")
    await door.good(*protocol, "push", "-o", "x", "cygni", "main", cwd=work)
    await door.good(*protocol, "clone", "-q", door.url(), "full")
    await door.good(*protocol, "clone", "-q", "--depth=1", door.url(), "shallow")
    await door.good(*protocol, "clone", "-q", "--filter=blob:none", door.url(), "partial")
    tip = await door.commit(work, "newest")
    await door.good(*protocol, "push", "cygni", "main", cwd=work)
    for copy in ("full", "shallow", "partial"):
        await door.good(*protocol, "pull", "-q", "--ff-only", cwd=door.root / copy)
        assert (await door.good("rev-parse", "HEAD", cwd=door.root / copy)).strip() == tip
    assert (await door.good("rev-list", "--count", "HEAD", cwd=door.root / "shallow")).strip() == "2"
    assert len(door.pushes.pushes) == 2


async def test_a_costly_filter_is_refused(door: Door) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    result = await door.git("clone", "--filter=sparse:oid=main:file.txt", door.url(), "copy")
    assert result.code != 0
    assert "not supported" in result.err


async def test_libgit2_pushes_and_clones(door: Door) -> None:
    async def build(push: Push, client: Client) -> Verdict:
        await client.line("-----> for libgit2")
        return Verdict(accepted=b"refuse" not in push.updates[0].ref.encode())

    door.pushes.received_by = build
    work = await door.work()

    def push(refspec: str) -> tuple[list[str], list[str]]:
        said: list[str] = []
        refused: list[str] = []

        class Callbacks(pygit2.RemoteCallbacks):
            def sideband_progress(self, string: str) -> None:
                said.append(string)

            def push_update_reference(self, refname: str, message: str | None) -> None:
                if message:
                    refused.append(message)

            def certificate_check(self, certificate: None, valid: bool, host: bytes) -> bool:
                return True

        keypair = pygit2.Keypair("cygni", f"{door.key}.pub", str(door.key), "")
        pygit2.Repository(str(work)).remotes["cygni"].push([refspec], Callbacks(credentials=keypair))
        return said, refused

    said, refused = await asyncio.to_thread(push, "refs/heads/main:refs/heads/main")
    assert "-----> for libgit2" in "".join(said)
    assert refused == []
    assert "refs/heads/main" in await door.refs()
    _, refused = await asyncio.to_thread(push, "refs/heads/main:refs/heads/refuse")
    assert refused == ["pre-receive hook declined"]


async def test_dulwich_pushes_and_clones(door: Door) -> None:
    async def build(push: Push, client: Client) -> Verdict:
        await client.line("-----> for dulwich")
        return Verdict(accepted=True)

    door.pushes.received_by = build
    work = await door.work()
    ssh = " ".join(door.ssh_options())

    def push_and_clone() -> bytes:
        import io

        errors = io.BytesIO()
        porcelain.push(
            str(work), door.url(), "main:main", outstream=errors, errstream=errors, ssh_command=ssh
        )
        porcelain.clone(door.url(), str(door.root / "copy"), errstream=errors, ssh_command=ssh).close()
        return errors.getvalue()

    said = await asyncio.to_thread(push_and_clone)
    assert b"for dulwich" in said
    assert (door.root / "copy" / "file.txt").read_text() == "first"


async def test_many_simultaneous_pushes_to_many_apps(door: Door) -> None:
    work = await door.work()
    results = await asyncio.gather(
        *(door.git("push", door.url(f"app{n}"), "main", cwd=work) for n in range(16))
    )
    assert [result.code for result in results] == [0] * 16
    assert len(door.pushes.finishes) == 16


async def test_a_second_push_waits_for_the_slot_and_sees_the_true_tip(door: Door) -> None:
    """Invariant: refs are advertised only under the slot, so nothing is ever built on a stale id."""
    release = asyncio.Event()

    async def build(push: Push, client: Client) -> Verdict:
        await release.wait()
        return Verdict(accepted=True)

    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    await door.good("clone", "-q", door.url(), "other")
    other: Path = door.root / "other"
    tip = await door.commit(work, "from work")
    await door.commit(other, "from other")
    door.pushes.received_by = build
    first = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await door.pushes.until(lambda: len(door.pushes.pushes) == 2)
    second = await door.spawn("git", "push", "origin", "main", cwd=other)
    await door.pushes.until(lambda: bool(door.pushes.waiting))
    assert second.stderr is not None
    assert b"Waiting for another push to shop" in await asyncio.wait_for(second.stderr.readline(), 20)
    release.set()
    assert list(await asyncio.gather(first.wait(), second.wait())) == [0, 1]
    assert b"fetch first" in await second.stderr.read()
    assert await door.refs() == {"refs/heads/main": tip}
    assert len(door.pushes.pushes) == 2


async def test_a_client_that_leaves_while_it_waits_frees_its_place(door: Door) -> None:
    release = asyncio.Event()

    async def build(push: Push, client: Client) -> Verdict:
        await release.wait()
        return Verdict(accepted=True)

    door.pushes.received_by = build
    work = await door.work()
    first = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await door.pushes.until(lambda: len(door.pushes.pushes) == 1)
    connection = await door.connect()
    waiter = await connection.create_process("git-receive-pack 'shop'", encoding=None)
    assert b"Waiting" in await waiter.stderr.readline()
    connection.abort()
    release.set()
    assert await first.wait() == 0
    await door.good("push", "cygni", "main:topic", cwd=work)


async def test_pushing_over_a_shared_connection_works(door: Door) -> None:
    """ControlMaster: several sessions on one connection."""
    work = await door.work()
    control = ("-o", "ControlMaster=auto", "-o", f"ControlPath={door.root}/cm", "-o", "ControlPersist=20")
    ssh = " ".join((*door.ssh_options(), *control))
    await door.good("push", "cygni", "main", cwd=work, GIT_SSH_COMMAND=ssh)
    await door.good("ls-remote", door.url(), GIT_SSH_COMMAND=ssh)
    stop: list[Any] = [
        *door.ssh_options(),
        *control,
        "-O",
        "exit",
        "-p",
        str(door.server.port),
        "cygni@127.0.0.1",
    ]
    await asyncio.to_thread(subprocess.run, stop, check=True, capture_output=True)
