"""A repository as one file: a git bundle of every ref, hidden ones included, and nothing that died pushes left."""

import asyncio
from pathlib import Path

from gitserver import git, repository
from gitserver.git import GitError

LIMIT = 1800.0
TRIES = 3


async def write(path: Path, bundle: Path) -> bool:
    """Write the bundle; False for a repository without a ref, which cannot have one.

    It may be pushed to and repacked meanwhile: refs are read once, and objects never vanish, but a pack may move
    under the reader's feet, which then starts again.

    Raises:
        GitError: git fails again and again.
    """
    if not await repository.list_refs(path, "refs"):
        return False
    for left in reversed(range(TRIES)):
        try:
            await git.run(path, "bundle", "create", "--quiet", str(bundle), "--all", timeout=LIMIT)
        except GitError:
            bundle.unlink(missing_ok=True)
            if not left:
                raise
            await asyncio.sleep(0.5)
        else:
            break
    return True


async def head(path: Path) -> str:
    """The branch that a clone checks out, as a full ref name."""
    return (await git.run(path, "symbolic-ref", "HEAD")).strip()


async def read(path: Path, bundle: Path | None, branch: str) -> None:
    """Make a repository from its bundle; every object is checked.

    Raises:
        GitError: the bundle is not whole.
    """
    await repository.create_bare(path)
    if bundle is not None:
        words = [
            "-c",
            "protocol.file.allow=always",
            "-c",
            "fetch.fsckObjects=true",
            "fetch",
            "--quiet",
            "--no-tags",
        ]
        await git.run(path, *words, "--no-write-fetch-head", str(bundle), "+refs/*:refs/*", timeout=LIMIT)
    await repository.set_head(path, branch.removeprefix("refs/heads/"))
