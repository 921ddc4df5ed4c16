"""Bare repositories: refs by compare-and-swap, maintenance, sweeping."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

import pytest

from gitserver import git, repository
from gitserver.ports import ZERO_ID
from gitserver.repository import GitError

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = {f"GIT_{who}_{what}": "x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


@pytest.fixture
async def bare(tmp_path: Path) -> Path:
    path = tmp_path / "deep" / "id.git"
    await repository.create_bare(path)
    return path


async def commit(path: Path, text: str) -> str:
    blob = (await git.run(path, "hash-object", "-w", "--stdin", stdin=text)).strip()
    tree = (await git.run(path, "mktree", stdin=f"100644 blob {blob}\tfile\n")).strip()
    return (await git.run(path, "commit-tree", tree, "-m", text, env=NOBODY)).strip()


async def test_creating_twice_changes_nothing(bare: Path) -> None:
    first = await commit(bare, "one")
    await repository.write_ref(bare, "refs/heads/main", first, None)
    await repository.create_bare(bare)
    assert await repository.list_refs(bare, "refs") == {"refs/heads/main": first}
    assert (bare / "info" / "attributes").read_text() == repository.ATTRIBUTES
    assert not (bare / "hooks").exists()
    assert bare.stat().st_mode & 0o777 == 0o700


async def test_refs_move_only_from_where_the_caller_thinks_they_are(bare: Path) -> None:
    first, second = await commit(bare, "one"), await commit(bare, "two")
    await repository.write_ref(bare, "refs/heads/main", first, None)
    assert await repository.read_ref(bare, "refs/heads/main") == first
    with pytest.raises(GitError):
        await repository.write_ref(bare, "refs/heads/main", second, None)
    with pytest.raises(GitError):
        await repository.write_ref(bare, "refs/heads/main", first, second)
    await repository.write_ref(bare, "refs/heads/main", second, first)
    assert await repository.read_ref(bare, "refs/heads/main") == second
    assert await repository.read_ref(bare, "refs/heads/other") is None
    with pytest.raises(GitError):
        await repository.write_ref(bare, "refs/heads/ghost", "1" * 40, ZERO_ID)


async def test_of_two_writers_at_once_one_wins(bare: Path) -> None:
    ids = [await commit(bare, str(number)) for number in range(4)]
    writes = (repository.write_ref(bare, "refs/heads/main", oid, None) for oid in ids)
    results = await asyncio.gather(*writes, return_exceptions=True)
    assert sum(result is None for result in results) == 1
    assert sum(isinstance(result, GitError) for result in results) == 3


async def test_deleting_and_listing(bare: Path) -> None:
    first = await commit(bare, "one")
    for ref in ("refs/cygni/v1", "refs/cygni/v2", "refs/heads/main"):
        await repository.write_ref(bare, ref, first, None)
    assert set(await repository.list_refs(bare, "refs/cygni")) == {"refs/cygni/v1", "refs/cygni/v2"}
    await repository.delete_ref(bare, "refs/cygni/v1")
    await repository.delete_ref(bare, "refs/cygni/v1")
    assert set(await repository.list_refs(bare, "refs/cygni/")) == {"refs/cygni/v2"}


async def test_head(bare: Path) -> None:
    await repository.set_head(bare, "master")
    assert (bare / "HEAD").read_text() == "ref: refs/heads/master\n"


@pytest.mark.parametrize(
    "name", ["--exec=x", "refs/heads/a..b", "HEAD", "refs/heads/a b", "refs/heads/\n", "", "refs//x"]
)
async def test_hostile_names_never_reach_git(bare: Path, name: str) -> None:
    with pytest.raises(GitError, match="is no full ref name"):
        await repository.read_ref(bare, name)
    with pytest.raises(GitError, match="is no full ref name"):
        await repository.write_ref(bare, name, "1" * 40, None)
    with pytest.raises(GitError, match="is no object id"):
        await repository.write_ref(bare, "refs/heads/x", "--help", None)
    with pytest.raises(GitError, match="is no full ref name"):
        await repository.set_head(bare, f"{name} x")


async def test_maintenance_packs_and_sweeps_what_is_old(bare: Path) -> None:
    for number in range(20):
        oid = await commit(bare, f"text {number}")
        await repository.write_ref(bare, f"refs/heads/b{number}", oid, None)
    objects = bare / "objects"
    old, fresh = objects / "tmp_objdir-incoming-old", objects / "tmp_objdir-incoming-fresh"
    for directory in (old, fresh):
        directory.mkdir()
        (directory / "file").write_text("x")
    before = time.time() - 2 * repository.STALE_SECONDS
    os.utime(old, (before, before))
    await repository.maintain(bare)
    assert len(list(objects.glob("pack/*.pack"))) == 1
    assert not list((bare / "refs" / "heads").iterdir())
    assert not old.exists()
    assert fresh.exists()
    assert len(await repository.list_refs(bare, "refs")) == 20
    assert await repository.sweep(bare, 0) == [fresh]


async def test_a_command_that_takes_too_long_or_fails_is_an_error_and_leaves_nothing(bare: Path) -> None:
    with pytest.raises(GitError, match=r"took more than 0\.3 s"):
        await git.run(bare, "-c", "alias.sleepy=!sleep 60", "sleepy", timeout=0.3)
    with pytest.raises(GitError, match="failed with"):
        await git.run(bare, "cat-file", "-p", "1" * 40)
