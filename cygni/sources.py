"""A build's commit as a source tree, read from git objects without a checkout."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from buildpacks.ports import Tree, TreeLimits
from buildpacks.tree import GitTree
from config import Settings
from cygni.domain.models import App, Build
from cygni.repositories import Repositories
from cygni.store import Store

SUBJECT_LENGTH = 72


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

    @asynccontextmanager
    async def open(self, app: App, build: Build) -> AsyncIterator[Source]:
        """Open the build's commit, in quarantine or in the repository, for as long as it is built."""
        quarantine = Path(build.quarantine) if build.quarantine else None
        path = self._repositories.path(app.id)
        tree = await asyncio.to_thread(GitTree, path, quarantine, build.commit, self._limits)
        try:
            yield Source(
                app=app,
                build=build,
                commit=build.commit,
                tree_id=tree.tree_id,
                branch=build.ref.removeprefix("refs/heads/"),
                subject=tree.subject[:SUBJECT_LENGTH],
                tree=tree,
                config=await self._store.config.get(app.id),
            )
        finally:
            tree.close()
