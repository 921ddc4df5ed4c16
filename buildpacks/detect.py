"""Detection: every provider that could build a tree, best first, with the reasons."""

from buildpacks.plan import BuildSettings, Candidate
from buildpacks.ports import Tree
from buildpacks.providers.base import Source
from buildpacks.providers.registry import PROVIDERS
from buildpacks.repository_settings import with_repository


def detect(tree: Tree, settings: BuildSettings | None = None) -> tuple[Candidate, ...]:
    """All candidates, the winner first; none when nothing was recognised. Blocking: it reads the tree.

    Raises:
        TreeLimitError: the tree is over a limit.
        TreeError: it cannot be read.
        PlanError: a file that has to be read for this is not text.
    """
    source, _ = with_repository(Source(tree, settings or BuildSettings()))
    return detect_source(source)


def detect_source(source: Source) -> tuple[Candidate, ...]:
    """The same, over what has been read already."""
    found = [candidate for provider in PROVIDERS if (candidate := provider.detect(source)) is not None]
    chosen = source.settings.provider
    return tuple(sorted(found, key=lambda candidate: (candidate.provider != chosen, candidate.rank)))
