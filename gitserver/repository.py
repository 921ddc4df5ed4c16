"""Bare repositories: made, read, changed and kept healthy by git's own commands.

Every ref name and object id that comes from outside is checked here before git sees it.
"""

import asyncio
import contextlib
import re
import shutil
import time
from pathlib import Path

from gitserver import git
from gitserver.git import GitError
from gitserver.ports import ZERO_ID

__all__ = [
    "GitError",
    "create_bare",
    "delete_ref",
    "list_refs",
    "maintain",
    "read_ref",
    "set_head",
    "sweep",
    "write_ref",
]

# A pushed .gitattributes must not decide what git does on this machine: this file wins over it.
ATTRIBUTES = "* -export-ignore -export-subst -text -eol -filter -ident -diff -merge\n"
LEFT_BEHIND = ("objects/tmp_objdir-*", "objects/tmp_*", "objects/pack/tmp_*", "shallow_*")
STALE_SECONDS = 24 * 3600
MAINTENANCE_SECONDS = 1800.0

_REF = re.compile(r"refs/[A-Za-z0-9][\w.+@/-]{0,240}", re.ASCII)
_OBJECT = re.compile(r"[0-9a-f]{40}")
_BRANCH_PREFIX = "refs/heads/"


async def create_bare(path: Path) -> None:
    """Make an empty bare repository that only this user can read; an existing one is left as it is.

    Raises:
        GitError: git cannot make it.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    await git.run(path, "init", "--bare", "--quiet", "--template=", "--initial-branch=main", str(path))
    (path / "info").mkdir(exist_ok=True)
    (path / "info" / "attributes").write_text(ATTRIBUTES)


async def read_ref(path: Path, ref: str) -> str | None:
    """Return the object id a ref points at, None when there is no such ref.

    Raises:
        GitError: the name is no full ref name.
    """
    _check(ref)
    return (await list_refs(path, ref)).get(ref)


async def list_refs(path: Path, prefix: str) -> dict[str, str]:
    """Return name and object id of every ref that is `prefix` or below it.

    Raises:
        GitError: the prefix is no ref name.
    """
    if prefix.rstrip("/") != "refs":
        _check(prefix)
    out = await git.run(path, "for-each-ref", "--format=%(objectname) %(refname)", "--", prefix.rstrip("/"))
    pairs = (line.split(" ", 1) for line in out.splitlines())
    return {name: oid for oid, name in pairs}


async def has_commit(path: Path, commit: str) -> bool:
    """Whether the repository has this commit."""
    _check("refs/heads/main", commit)
    try:
        await git.run(path, "cat-file", "-e", f"{commit}^{{commit}}")
    except git.GitError:
        return False
    return True


async def write_ref(path: Path, ref: str, new: str, old: str | None) -> None:
    """Point a ref at an object, if it is at `old` now; None or `ZERO_ID` means that it must not exist.

    Raises:
        GitError: the ref is elsewhere, the object is missing, or a name or id is malformed.
    """
    _check(ref, new, old or ZERO_ID)
    await git.run(path, "update-ref", "--no-deref", ref, new, old or ZERO_ID)


async def delete_ref(path: Path, ref: str) -> None:
    """Delete a ref; one that is gone already is fine.

    Raises:
        GitError: the name is malformed or git cannot delete it.
    """
    _check(ref)
    await git.run(path, "update-ref", "--no-deref", "-d", ref)


async def set_head(path: Path, branch: str) -> None:
    """Make `branch` (without `refs/heads/`) what a clone checks out.

    Raises:
        GitError: the name is malformed.
    """
    _check(_BRANCH_PREFIX + branch)
    await git.run(path, "symbolic-ref", "HEAD", _BRANCH_PREFIX + branch)


async def maintain(path: Path) -> None:
    """Repack geometrically, pack refs, sweep what died pushes left; for a time when nobody pushes.

    Raises:
        GitError: git fails or takes more than `MAINTENANCE_SECONDS`.
    """
    await git.run(path, "repack", "--geometric=2", "-d", "-l", "-q", timeout=MAINTENANCE_SECONDS)
    await git.run(path, "pack-refs", "--all", "--prune")
    await sweep(path, STALE_SECONDS)


async def sweep(path: Path, older_than: float) -> list[Path]:
    """Remove quarantines and half-written packs that are older than so many seconds; return them.

    Zero is for the holder of the repository's push slot after a receive-pack that was killed.
    """
    return await asyncio.to_thread(_sweep, path, time.time() - older_than)


def _sweep(path: Path, before: float) -> list[Path]:
    swept = []
    for left in [found for pattern in LEFT_BEHIND for found in path.glob(pattern)]:
        with contextlib.suppress(FileNotFoundError):
            if left.lstat().st_mtime <= before:
                _remove(left)
                swept.append(left)
    return swept


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def _check(ref: str, *objects: str) -> None:
    if not _REF.fullmatch(ref) or ".." in ref or "//" in ref:
        raise GitError(f"{ref!r} is no full ref name")
    for oid in objects:
        if not _OBJECT.fullmatch(oid):
            raise GitError(f"{oid!r} is no object id")
