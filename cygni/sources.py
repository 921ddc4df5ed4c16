"""A build's commit as a source tree, read from git objects without a checkout."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from buildpacks.ports import Tree, TreeLimitError, TreeLimits
from buildpacks.tree import GitTree, TreeError
from config import Settings
from cygni.domain.errors import CygniError
from cygni.domain.models import App, Build
from cygni.repositories import Repositories
from cygni.store import Store

SUBJECT_LENGTH = 72


class SourceLimitError(CygniError):
    """A tree has more than is allowed, or names that no tree may have; the text says what and where."""


@dataclass(frozen=True)
class Source:
    """What a build works on. `config` is what the app's config was when the build began."""

    app: App
    build: Build
    commit: str
    tree_id: str
    branch: str
    subject: str
    tree: Tree
    config: Mapping[str, str]


class Sources:
    """Opens the trees of builds."""

    def __init__(self, settings: Settings, store: Store, repositories: Repositories) -> None:
        self._store = store
        self._repositories = repositories
        self._limits = TreeLimits(files=settings.source_files, total_bytes=settings.source_bytes)

    async def check(self, path: Path, quarantine: Path | None, commit: str) -> None:
        """Count a commit's files, their bytes, depth and paths against the limits, stopping at the first one met.

        Raises:
            SourceLimitError: with what there is too much of.
        """
        try:
            await asyncio.to_thread(self._walk, path, quarantine, commit)
        except (TreeLimitError, TreeError) as error:
            raise SourceLimitError(str(error)) from None

    def _walk(self, path: Path, quarantine: Path | None, commit: str) -> None:
        with GitTree(path, quarantine, commit, self._limits) as tree:
            for _ in tree.entries():
                pass

    @asynccontextmanager
    async def open(self, app: App, build: Build) -> AsyncIterator[Source]:
        """Open the build's commit, in quarantine or in the repository, for as long as it is built."""
        quarantine = Path(build.quarantine) if build.quarantine else None
        async with self._repositories.reading(app.id) as path:
            tree = await asyncio.to_thread(GitTree, path, quarantine, build.commit, self._limits)
            try:
                yield await self._source(app, build, tree)
            finally:
                tree.close()

    async def _source(self, app: App, build: Build, tree: GitTree) -> Source:
        return Source(
            app=app,
            build=build,
            commit=build.commit,
            tree_id=tree.tree_id,
            branch=build.ref.removeprefix("refs/heads/"),
            subject=tree.subject[:SUBJECT_LENGTH],
            tree=tree,
            config=await self._store.config.get(app.id),
        )
