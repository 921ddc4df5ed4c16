"""What a push would do, without building: of a directory (no server needed), or of a commit that was pushed."""

from collections.abc import Collection
from pathlib import Path

from buildpacks.detect import detect
from buildpacks.explain import explain as render
from buildpacks.gittree import GitTree
from buildpacks.plan import BuildSettings, Failure
from buildpacks.planner import plan
from buildpacks.ports import Tree, TreeLimits
from buildpacks.tree import DirectoryTree
from config import Settings


def explain(path: Path, *, as_json: bool) -> tuple[str, bool]:
    """Return the explanation, and whether the directory could not be built."""
    return _explain(DirectoryTree(path), (), as_json=as_json)


def explain_commit(
    settings: Settings, repository: Path, commit: str, config: Collection[str], *, as_json: bool
) -> tuple[str, bool]:
    """The same of a commit, with the names of the app's config vars."""
    limits = TreeLimits(files=settings.source_files, total_bytes=settings.source_bytes)
    tree = GitTree(repository, None, commit, limits)
    try:
        return _explain(tree, config, as_json=as_json)
    finally:
        tree.close()


def _explain(tree: Tree, config: Collection[str], *, as_json: bool) -> tuple[str, bool]:
    settings = BuildSettings()
    result = plan(tree, settings, frozenset(config))
    text = render(result, detect(tree, settings), "json" if as_json else "text")
    return text, isinstance(result, Failure)
