"""The apps' bare repositories: one directory an app, named by its id."""

import asyncio
import shutil
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from cygni.domain.models import App
from gitserver import repository
from gitserver.git import GitError

DEPLOY_BRANCHES = ("main", "master")
BRANCH_PREFIX = "refs/heads/"
RELEASE_REFS = "refs/cygni"


@dataclass(frozen=True)
class Tip:
    """Where a branch is."""

    branch: str
    commit: str


@dataclass
class _Use:
    """Who works on a repository."""

    readers: int = 0
    repack: asyncio.Lock = field(default_factory=asyncio.Lock)


class Repositories:
    """Creates, finds and removes repositories below one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._creating: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._uses: defaultdict[str, _Use] = defaultdict(_Use)

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

    async def has_commit(self, path: Path, commit: str) -> bool:
        """Whether the repository has this commit."""
        return await repository.has_commit(path, commit)

    async def is_empty(self, path: Path) -> bool:
        """Whether no ref is there, hidden ones included."""
        return not await repository.list_refs(path, "refs")

    async def deploy_tip(self, app: App) -> Tip | None:
        """Where the app's deploy branch is; None before its first push."""
        path = self.path(app.id)
        if not (path / "HEAD").exists():
            return None
        refs = await repository.list_refs(path, BRANCH_PREFIX)
        branches = (app.deploy_branch,) if app.deploy_branch else DEPLOY_BRANCHES
        tips = [Tip(name, refs[BRANCH_PREFIX + name]) for name in branches if BRANCH_PREFIX + name in refs]
        return tips[0] if tips else None

    async def set_head(self, path: Path, branch: str) -> None:
        """Make `branch` what a clone checks out."""
        await repository.set_head(path, branch)

    async def keep_release(self, path: Path, version: int, commit: str) -> None:
        """Keep a release's commit from being collected, under a hidden ref."""
        ref = f"{RELEASE_REFS}/v{version}"
        await repository.write_ref(path, ref, commit, await repository.read_ref(path, ref))

    async def keep_releases(self, app_id: str, commits: Mapping[int, str]) -> None:
        """Give releases (version to commit) whose commit is here the hidden ref that they lack."""
        path = self.path(app_id)
        if not path.exists():
            return
        kept = await repository.list_refs(path, RELEASE_REFS)
        for version, commit in commits.items():
            ref = f"{RELEASE_REFS}/v{version}"
            if ref not in kept:
                with suppress(GitError):  # a push that was interrupted: its commit never came in
                    await repository.write_ref(path, ref, commit, None)

    @asynccontextmanager
    async def reading(self, app_id: str) -> AsyncIterator[Path]:
        """The repository's path, with its packs staying where they are: a build reads them for minutes."""
        use = self._uses[app_id]
        async with use.repack:
            use.readers += 1
        try:
            yield self.path(app_id)
        finally:
            use.readers -= 1

    async def maintain(self, app_id: str) -> None:
        """Repack and sweep, unless someone reads; call it while nobody pushes to the app."""
        use = self._uses[app_id]
        async with use.repack:
            if use.readers == 0 and (path := self.path(app_id)).exists():
                await repository.maintain(path)
