"""`cygni build:explain PATH`: what a push of a directory would do, without a server and without building."""

from pathlib import Path

from buildpacks.detect import detect
from buildpacks.explain import explain as render
from buildpacks.plan import BuildSettings, Failure
from buildpacks.planner import plan
from buildpacks.tree import DirectoryTree


def explain(path: Path, *, as_json: bool) -> tuple[str, bool]:
    """Return the explanation, and whether the directory could not be built."""
    tree, settings = DirectoryTree(path), BuildSettings()
    result = plan(tree, settings, frozenset())
    text = render(result, detect(tree, settings), "json" if as_json else "text")
    return text, isinstance(result, Failure)
