"""What a push means: branches, tags, options, limits, waiting, leaving; over real SSH, with a pipeline a test steers."""

from __future__ import annotations

import asyncio
import io
import os
import signal
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from unittest.mock import AsyncMock

import pygit2
import pytest
from dulwich import porcelain
from receiving import Reception, line_with, prepare, reception

from cygni.domain.errors import CygniError
from cygni.domain.models import BuildStatus
from gitserver import repository

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cygni.domain.models import App

PUSHES = 4


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept")
    asyncio.run(prepare(path))
    return path


@pytest.fixture
async def door(tmp_path: Path, kept: Path) -> AsyncIterator[Reception]:
    async with reception(tmp_path, kept) as made:
        yield made


async def nothing_changed(door: Reception, before: dict[str, str], builds: int = 0) -> None:
    """A refused push: no ref, no object, no quarantine, no build."""
    assert await door.refs() == before
    assert len(await door.builds()) == builds
    if not before:
        assert await door.left_behind() == []
    assert [path for path in await door.left_behind() if "tmp_" in path.name] == []


@pytest.mark.parametrize("version", ["0", "1", "2"])
async def test_git_pushes_pulls_and_pushes_again(door: Reception, version: str) -> None:
    protocol = ("-c", f"protocol.version={version}")
    work = await door.work()
    said = await door.good(*protocol, "push", "cygni", "main", cwd=work)
    assert "remote: -----> Building" in said
    assert "Released v1" in said
    await door.good(*protocol, "clone", "-q", door.url(), "copy")
    tip = await door.commit(door.root / "copy", {"index.html": "two"})
    await door.good(*protocol, "push", "origin", "main", cwd=door.root / "copy")
    assert await door.refs() == {
        "refs/heads/main": tip,
        "refs/cygni/v1": await door.head(work),
        "refs/cygni/v2": tip,
    }


async def test_libgit2_and_dulwich_deploy(door: Reception) -> None:
    work = await door.work()
    said: list[str] = []

    def with_libgit2() -> None:
        class Callbacks(pygit2.RemoteCallbacks):
            def sideband_progress(self, string: str) -> None:
                said.append(string)

            def certificate_check(self, certificate: None, valid: bool, host: bytes) -> bool:
                return True

        pair = pygit2.Keypair("cygni", str(door.root / "key.pub"), str(door.root / "key"), "")
        pygit2.Repository(str(work)).remotes["cygni"].push(
            ["refs/heads/main:refs/heads/main"], Callbacks(credentials=pair)
        )

    await asyncio.to_thread(with_libgit2)
    assert "Released v1" in "".join(said)
    await door.commit(work, {"index.html": "two"})
    words = (str(work), door.url(), "main:main", io.BytesIO(), io.BytesIO())
    await asyncio.to_thread(porcelain.push, *words, ssh_command=" ".join(door.ssh()))
    assert [build.status for build in await door.builds()] == [BuildStatus.SUCCEEDED] * 2


@pytest.mark.parametrize("branch", ["main", "master"])
async def test_the_first_of_main_and_master_deploys_from_then_on(door: Reception, branch: str) -> None:
    work = await door.work()
    await door.good("push", "cygni", f"main:{branch}", cwd=work)
    other = {"main": "master", "master": "main"}[branch]
    before = await door.refs()
    refused = await door.git("push", "cygni", f"main:{other}", cwd=work)
    assert f"git push cygni {other}:{branch}" in refused.err
    assert refused.code == 1
    await nothing_changed(door, before, builds=1)
    await door.good("clone", "-q", door.url(), "copy")
    head = await door.good("symbolic-ref", "--short", "HEAD", cwd=door.root / "copy")
    assert head.strip() == branch


async def test_another_branch_is_refused_before_anything_is_built_with_the_command_that_works(
    door: Reception,
) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    before = await door.refs()
    await door.good("checkout", "-q", "-b", "feature/x", cwd=work)
    await door.commit(work, {"index.html": "feature"})
    await door.good("tag", "v2", cwd=work)
    refused = await door.git("push", "cygni", "feature/x", "v2", cwd=work)
    command = next(line for line in refused.err.splitlines() if "git push cygni" in line)
    assert refused.code == 1
    assert len(door.pipeline.built) == 1
    await nothing_changed(door, before, builds=1)
    await door.good(*command.split("git ")[1].split(), cwd=work)
    assert len(door.pipeline.built) == 2


@pytest.mark.parametrize(
    ("refspec", "reason"),
    [
        ("HEAD:refs/heads/HEAD", "HEAD cannot be a branch"),
        ("main:refs/foo/bar", "Only branches and tags"),
        ("main:refs/cygni/v9", "Only branches and tags"),
        ("main:refs/heads/a;b", "is a name that is not accepted"),
        ("main:topic", "git push cygni topic:main"),
        (":main", "cannot be deleted"),
        ("v1:main", "v1 is"),
        ("main^{tree}:refs/heads/main", "is a tree"),
    ],
)
async def test_funny_refs_are_refused_before_a_build(door: Reception, refspec: str, reason: str) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    before = await door.refs()
    await door.good("tag", "-a", "v1", "-m", "one", cwd=work)
    reason = (
        f"{(await door.good('rev-parse', '--short=7', 'v1', cwd=work)).strip()} is a tag"
        if "v1 is" in reason
        else reason
    )
    refused = await door.git("push", "--force", "cygni", refspec, cwd=work)
    assert refused.code == 1
    assert reason in refused.err or "deny updating a hidden ref" in refused.err, refused.err
    await nothing_changed(door, before, builds=1)


async def test_the_command_of_a_refused_tag_deploys_its_commit(door: Reception) -> None:
    work = await door.work()
    await door.good("tag", "-a", "v1", "-m", "one", cwd=work)
    refused = await door.git("push", "cygni", "v1:refs/heads/main", cwd=work)
    commands = [line for line in refused.err.splitlines() if "git push REMOTE" in line]
    assert len(commands) == 1, refused.err
    await door.good("push", "cygni", commands[0].split()[-1].replace(":", ":refs/heads/"), cwd=work)
    assert (await door.refs())["refs/heads/main"] == await door.head(work)


async def test_tags_are_stored_without_a_build_also_before_the_first_deploy(door: Reception) -> None:
    work = await door.work()
    await door.good("tag", "-a", "v1", "-m", "one", cwd=work)
    await door.good("push", "cygni", "v1", cwd=work)
    assert list(await door.refs()) == ["refs/tags/v1"]
    assert await door.builds() == []
    await door.good("push", "--follow-tags", "cygni", "main", cwd=work)
    await door.good("push", "cygni", ":v1", cwd=work)
    assert len(await door.builds()) == 1
    assert set(await door.refs()) == {"refs/heads/main", "refs/cygni/v1"}


async def test_force_mirror_atomic_porcelain(door: Reception) -> None:
    work = await door.work()
    first = await door.head(work)
    await door.commit(work, {"index.html": "two"})
    await door.good("push", "cygni", "main", cwd=work)
    assert "non-fast-forward" in (await door.git("push", "cygni", f"{first}:main", cwd=work)).err
    await door.good("push", "--force", "cygni", f"{first}:main", cwd=work)
    assert door.pipeline.built[-1][0] == first
    await door.good("tag", "v1", cwd=work)
    await door.good("clone", "-q", "--mirror", f"file://{work}", "mirror.git")
    await door.good("update-ref", "-d", "refs/remotes/cygni/main", cwd=door.root / "mirror.git")
    await door.good("push", "--mirror", door.url(), cwd=door.root / "mirror.git")
    assert (await door.refs())["refs/tags/v1"] == await door.head(work)
    await door.commit(work, {"index.html": "three"})
    await door.good("tag", "v3", cwd=work)
    refused = await door.git("push", "--atomic", "cygni", "main", "v3", "main:topic", cwd=work)
    assert refused.code == 1
    assert "refs/tags/v3" not in await door.refs()
    shown = await door.git("push", "--porcelain", "cygni", "main", cwd=work)
    assert "refs/heads/main:refs/heads/main" in shown.out
    assert shown.out.endswith("Done\n")


async def test_an_app_made_for_a_push_that_comes_to_nothing_is_not_kept(door: Reception) -> None:
    work = await door.work()
    refused = await door.git("push", "cygni", "main:topic", cwd=work)
    assert "git push cygni topic:main" in refused.err
    await door.git("push", "cygni", "nothing-here", cwd=work)
    assert await door.store.apps.all() == []
    assert list((door.root / "data" / "repositories").iterdir()) == []
    await door.good("push", "cygni", "main", cwd=work)
    await door.git("push", "cygni", "main:topic", cwd=work)
    assert [app.name for app in await door.store.apps.all()] == ["shop"]


async def test_an_app_that_another_push_waits_for_is_kept(door: Reception) -> None:
    work = await door.work()
    session = " ".join([*door.ssh(), "-p", str(door.server.port), "cygni@127.0.0.1", "git-receive-pack shop"])
    idle = await door.spawn("sh", "-c", f"sleep 100 | {session}")
    await line_with(idle.stdout, b"capabilities^{}")
    waiting = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await line_with(waiting.stderr, b"Yours is next")
    os.killpg(idle.pid, signal.SIGKILL)
    await line_with(waiting.stderr, b"Released v1")
    assert await waiting.wait() == 0


async def test_an_app_whose_first_build_fails_is_kept_with_the_build_to_look_at(door: Reception) -> None:
    door.pipeline.fails = True
    work = await door.work()
    refused = await door.git("push", "cygni", "main", cwd=work)
    assert "Push rejected to shop" in refused.err
    assert [build.status for build in await door.builds()] == [BuildStatus.FAILED]
    await nothing_changed(door, {}, builds=1)
    assert "Building" in (await door.command("builds:output", "-a", "shop")).out
    door.pipeline.fails = False
    await door.good("push", "cygni", "main", cwd=work)


async def test_shallow_pushes_to_a_new_and_an_existing_app(door: Reception) -> None:
    work = await door.work()
    await door.commit(work, {"index.html": "two"})
    await door.good("clone", "-q", "--depth=1", f"file://{work}", "ci")
    await door.good("push", door.url(), "main", cwd=door.root / "ci")
    await door.commit(work, {"index.html": "three"})
    await door.good("clone", "-q", "--depth=1", f"file://{work}", "ci2")
    await door.good("push", "--force", door.url(), "main", cwd=door.root / "ci2")
    assert [commit for commit, _ in door.pipeline.built] == [
        await door.head(door.root / "ci"),
        await door.head(work),
    ]
    assert "index.html" in door.pipeline.built[-1][1]


@pytest.mark.parametrize(
    ("settings", "files", "reason"),
    [
        ({"source_files": 5}, {f"file{n}": "" for n in range(9)}, "more than 5 files"),
        ({"source_bytes": 100}, {"big": "x" * 101}, "more than 100 bytes of source, reached at "),
        ({}, {"/".join("d" * 70) + "/file": ""}, "more than 64 directories deep"),
        ({}, {"/".join(["d" * 200] * 19 + ["d" * 250, "f" * 200]): ""}, "a path is longer than 4096 bytes"),
    ],
    ids=["files", "bytes", "depth", "path"],
)
async def test_a_tree_over_a_limit_is_refused_before_a_build(
    tmp_path: Path, kept: Path, settings: dict[str, int], files: dict[str, str], reason: str
) -> None:
    async with reception(tmp_path, kept, **settings) as door:
        work = await _tree(door, files)
        refused = await door.git("push", "cygni", "main", cwd=work)
        assert refused.code == 1
        assert f"The pushed source has {reason}" in refused.err
        assert "git rm -r --cached" in refused.err
        assert door.pipeline.built == []
        assert await door.store.apps.all() == []
        await door.good("push", "-q", "cygni", "HEAD:refs/tags/v1", cwd=work)
        refused = await door.git("push", "cygni", "main", cwd=work)
        assert f"The pushed source has {reason}" in refused.err


async def _tree(door: Reception, files: dict[str, str]) -> Path:
    """A commit of these files, made without a work tree: a path may be longer than this machine's."""
    work = await door.work()
    blob = (await door.good("hash-object", "-w", "index.html", cwd=work)).strip()
    index = "".join(f"100644 {blob}\t{path}\n" for path, text in files.items() if not text)
    for path, text in files.items():
        if text:
            await door.commit(work, {path: text})
    command = ["git", "update-index", "--index-info"]
    await asyncio.to_thread(subprocess.run, command, cwd=work, input=index, text=True, check=True)
    await door.good("commit", "-q", "--allow-empty", "-m", "tree", cwd=work)
    return work


async def test_a_disk_that_fills_during_the_push_refuses_it(
    door: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 2 << 30

    monkeypatch.setattr("cygni.disk.shutil.disk_usage", lambda _: Usage)
    work = await door.work()
    await door.good("push", "-q", "cygni", "main", cwd=work)
    raw = await door.spawn(
        *door.ssh(), "-p", str(door.server.port), "cygni@127.0.0.1", "git-receive-pack shop"
    )
    await raw.wait()
    checked = 0

    def fills(_: object) -> type[Usage]:
        nonlocal checked
        checked += 1
        Usage.free = 2 << 30 if checked == 1 else 1 << 20
        return Usage

    monkeypatch.setattr("cygni.disk.shutil.disk_usage", fills)
    before = await door.refs()
    await door.commit(work, {"index.html": "two"})
    refused = await door.git("push", "cygni", "main", cwd=work)
    assert "disk is almost full" in refused.err
    await nothing_changed(door, before, builds=1)


async def test_a_client_that_leaves_detaches_and_the_build_is_followed_again(door: Reception) -> None:
    door.pipeline.may_end.clear()
    work = await door.work()
    push = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await line_with(push.stderr, b"Ctrl-C detaches")
    await line_with(push.stderr, b"Building")
    os.killpg(push.pid, signal.SIGINT)
    await push.wait()
    follower = await door.spawn(
        *door.ssh(), "-p", str(door.server.port), "cygni@127.0.0.1", "builds:output -a shop -t"
    )
    await line_with(follower.stdout, b"-----> Building")
    door.pipeline.may_end.set()
    await line_with(follower.stdout, b"Released v1")
    assert await asyncio.wait_for(follower.wait(), 20) == 0
    expected = dict.fromkeys(("refs/heads/main", "refs/cygni/v1"), await door.head(work))

    async def moved() -> bool:
        return await door.refs() == expected

    await door.until(moved)


async def test_on_disconnect_cancel_ends_the_build_with_its_client(door: Reception) -> None:
    door.pipeline.may_end.clear()
    work = await door.work()
    push = await door.spawn("git", "push", "-o", "on-disconnect=cancel", "cygni", "main", cwd=work)
    await line_with(push.stderr, b"Building")
    os.killpg(push.pid, signal.SIGKILL)

    async def cancelled() -> bool:
        return (await door.builds())[0].status is BuildStatus.CANCELLED

    await door.until(cancelled)
    door.pipeline.may_end.set()
    await door.until(lambda: _free(door))
    await nothing_changed(door, {}, builds=1)
    await door.good("push", "cygni", "main", cwd=work)


async def _free(door: Reception) -> bool:
    with door.slots.try_hold((await door.app()).id) as held:
        return held


async def _packed(door: Reception, app: str) -> bool:
    """Whether housekeeping has been there since the last push."""
    return (await door.bare(app) / "packed-refs").exists() and await _free(door)


@asynccontextmanager
async def holding(door: Reception, app: App) -> AsyncIterator[None]:
    """Hold the app's slot as housekeeping does, once it is free."""
    while True:
        with door.slots.try_hold(app.id) as held:
            if held:
                yield
                return
        await asyncio.sleep(0.02)


async def test_a_detached_push_returns_at_once_and_its_failure_shows_in_builds(door: Reception) -> None:
    door.pipeline.may_end.clear()
    door.pipeline.fails = True
    work = await door.work()
    said = await door.good("push", "-o", "detach", "cygni", "main", cwd=work)
    assert "builds:output -a shop -t" in said
    assert (await door.refs())["refs/heads/main"] == await door.head(work)
    door.pipeline.may_end.set()

    async def failed() -> bool:
        builds = await door.builds()
        return bool(builds) and builds[0].status is BuildStatus.FAILED

    await door.until(failed)
    assert "failed" in (await door.command("builds", "-a", "shop")).out


async def test_an_unknown_push_option_is_refused_with_the_known_ones(door: Reception) -> None:
    work = await door.work()
    refused = await door.git("push", "-o", "detatch", "cygni", "main", cwd=work)
    assert "no push option 'detatch'" in refused.err
    assert "detach, on-disconnect=cancel" in refused.err
    assert await door.store.apps.all() == []


async def test_the_second_push_waits_is_told_and_never_builds_on_a_stale_id(door: Reception) -> None:
    work = await door.work()
    await door.good("push", "-q", "cygni", "main", cwd=work)
    await door.good("clone", "-q", door.url(), "other")
    other = door.root / "other"
    await door.commit(work, {"index.html": "from work"})
    await door.commit(other, {"index.html": "from other"})
    door.pipeline.may_end.clear()
    first = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await line_with(first.stderr, b"Building")
    second = await door.spawn("git", "push", "origin", "main", cwd=other)
    await line_with(second.stderr, b"Another push by tester is being deployed (0:0")
    await line_with(second.stderr, b"Another push by tester is being deployed (0:0")  # told again
    door.pipeline.may_end.set()
    assert await first.wait() == 0
    assert second.stderr is not None
    assert b"fetch first" in await second.stderr.read()
    assert len(await door.builds()) == 2
    assert (await door.refs())["refs/heads/main"] == await door.head(work)


async def test_a_newer_push_takes_the_place_of_one_that_waits(door: Reception) -> None:
    work = await door.work()
    door.pipeline.may_end.clear()
    first = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await line_with(first.stderr, b"Building")
    await door.commit(work, {"index.html": "two"})
    older = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await line_with(older.stderr, b"Yours is next")
    newer = await door.spawn("git", "push", "cygni", "main", cwd=work)
    await line_with(older.stderr, b"fatal: remote error: A newer push to this app took your place")
    assert await older.wait() == 128
    door.pipeline.may_end.set()
    assert [await first.wait(), await newer.wait()] == [0, 0]
    assert [build.status for build in await door.builds()] == [BuildStatus.SUCCEEDED] * 2


async def test_a_push_that_waits_for_an_app_that_goes_is_told(door: Reception) -> None:
    work = await door.work()
    await door.good("push", "-q", "cygni", "main", cwd=work)
    app = await door.app()
    async with holding(door, app):
        waiting = await door.spawn(
            "git", "push", "--force", "cygni", "main:main", "main:refs/tags/x", cwd=work
        )
        await line_with(waiting.stderr, b"repository is being tidied (0:00). Yours is next")
        await door.store.apps.delete(app.id)
    await line_with(waiting.stderr, b"fatal: remote error: There is no app shop")


async def test_housekeeping_repacks_under_the_slot_and_outlives_a_broken_repository(door: Reception) -> None:
    work = await door.work()
    for number in range(PUSHES):
        await door.commit(work, {"index.html": str(number)})
        await door.good("push", "-q", "-o", "detach", "cygni", "main", cwd=work)

    async def built() -> bool:
        return len([b for b in await door.builds() if b.status.final]) == PUSHES

    await door.until(built)
    bare = await door.bare()
    old = bare / "objects" / "tmp_objdir-incoming-old"
    old.mkdir()
    os.utime(old, (0, 0))
    app = await door.app()

    async def tidy() -> bool:
        return not old.exists() and len(list((bare / "objects" / "pack").glob("*.pack"))) < PUSHES

    door.housekeeping.after_push(app.id)
    await door.until(tidy)
    live = await door.store.releases.live(app.id)
    assert live is not None
    assert (await door.refs())[f"refs/cygni/v{live.version}"] == live.commit
    (bare / "HEAD").write_text("broken")
    door.housekeeping.after_push(app.id)
    second = await door.work("second", app="other")
    await door.good("push", "-q", "cygni", "main", cwd=second)

    await door.until(lambda: _packed(door, "other"))


async def test_a_repack_waits_for_pushes_and_for_builds_that_read_the_repository(door: Reception) -> None:
    """Invariant: packs that a build has found stay where they are until it ends."""
    work = await door.work()
    await door.good("push", "-q", "cygni", "main", cwd=work)
    app, bare = await door.app(), await door.bare()
    await door.until(lambda: _packed(door, "shop"))
    old = bare / "objects" / "tmp_objdir-incoming-old"
    old.mkdir()
    os.utime(old, (0, 0))
    async with door.services.repositories.reading(app.id):
        await door.services.repositories.maintain(app.id)
        assert old.exists()
    async with holding(door, app):
        await door.housekeeping._tidy_repository(app)
        assert old.exists()
    await door.housekeeping._tidy_repository(app)
    assert not old.exists()


async def test_a_detached_push_that_a_crash_kept_from_the_queue_is_built_by_the_next_server(
    door: Reception,
) -> None:
    from cygni.recovery import recover

    work = await door.work()
    app = await door.store.apps.create("shop", (await door.store.users.ensure("tester")).id)
    path = await door.services.repositories.ensure(app.id)
    await door.good("push", "-q", str(path), "main", cwd=work)
    await recover(door.services)

    async def built() -> bool:
        return await door.store.releases.live(app.id) is not None

    await door.until(built)
    await recover(door.services)
    assert len(await door.builds()) == 1
    assert (await door.app()).deploy_branch == "main"
    assert await repository.read_ref(path, "refs/heads/main") == door.pipeline.built[0][0]


async def test_a_refusal_that_cannot_be_noted_is_told_all_the_same(
    door: Reception, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    app = await door.app()
    await door.store.apps.set_lock(app.id, "ann")
    monkeypatch.setattr(door.store.events, "record", AsyncMock(side_effect=CygniError("the disk is full")))
    await door.commit(work, {"index.html": "two"})
    refused = await door.git("push", "cygni", "main", cwd=work)
    assert refused.code != 0
    assert "locked by ann" in refused.err
