"""The apps' bare repositories: one directory an app, named by its id."""

import asyncio
import shutil
from collections import defaultdict
from pathlib import Path

from gitserver import repository

RELEASE_REFS = "refs/cygni"


class Repositories:
    """Creates, finds and removes repositories below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._creating: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def path(self, app_id: str) -> Path:
        """Where the app's repository is, or would be."""
        return self._directory / f"{app_id}.git"

    async def ensure(self, app_id: str) -> Path:
        """Return the app's repository, created if it is missing."""
        path = self.path(app_id)
        async with self._creating[app_id]:
            if not (path / "HEAD").exists():
                await repository.create_bare(path)
        return path

    async def remove(self, app_id: str) -> None:
        """Delete the app's repository; gone already is fine."""
        await asyncio.to_thread(shutil.rmtree, self.path(app_id), ignore_errors=True)

    async def read_ref(self, path: Path, ref: str) -> str | None:
        """Return the commit a ref points at, None when there is no such ref."""
        return await repository.read_ref(path, ref)

    async def set_head(self, path: Path, branch: str) -> None:
        """Make `branch` what a clone checks out."""
        await repository.set_head(path, branch)

    async def keep_release(self, path: Path, version: int, commit: str) -> None:
        """Keep a release's commit from being collected, under a hidden ref."""
        ref = f"{RELEASE_REFS}/v{version}"
        await repository.write_ref(path, ref, commit, await repository.read_ref(path, ref))

    async def maintain(self, app_id: str) -> None:
        """Repack and sweep; call it while nobody pushes to the app."""
        if (path := self.path(app_id)).exists():
            await repository.maintain(path)
