"""From a tree to a plan, or to the failure that says why there is none."""

from collections.abc import Iterator
from dataclasses import replace

from buildpacks.detect import detect_source
from buildpacks.messages import Block, failure, listing, note, refuse
from buildpacks.plan import BuildSettings, Candidate, Evidence, Failure, Note, Plan, PlanError
from buildpacks.ports import Tree, TreeLimitError
from buildpacks.providers.base import Provider, Source
from buildpacks.providers.registry import PROVIDERS, UNSUPPORTED
from buildpacks.walk import TreeError

_MANIFESTS = ("Dockerfile", "package.json", "requirements.txt", "Procfile", "index.html")


def plan(
    tree: Tree, settings: BuildSettings | None = None, env_names: frozenset[str] = frozenset()
) -> Plan | Failure:
    """Plan the build of a tree. Blocking: it reads the tree.

    Args:
        tree: the source.
        settings: what the app's owner has set.
        env_names: names of the app's config variables; values never enter a plan.
    """
    source = Source(tree, settings or BuildSettings(), env_names)
    try:
        return _plan(source)
    except PlanError as error:
        return error.failure
    except TreeLimitError as error:
        return failure("tree/limit", detail=str(error))
    except TreeError as error:
        return failure("tree/unreadable", detail=str(error))


def _plan(source: Source) -> Plan:
    candidates = detect_source(source)
    provider = _choose(source, candidates)
    planned = provider.plan(source)
    _check_reserved(source, planned)
    file = source.procfile
    notes = (*_losers(candidates, provider.name), *(file.notes if file else ()), *planned.notes)
    if file is None:
        return replace(planned, notes=notes)
    return replace(planned, notes=notes, processes=file.processes or planned.processes, release=file.release)


def _choose(source: Source, candidates: tuple[Candidate, ...]) -> Provider:
    by_name = {provider.name: provider for provider in PROVIDERS}
    chosen = source.settings.provider
    if chosen is not None and chosen not in by_name:
        raise refuse("detect/unknown-provider", provider=chosen, known=", ".join(sorted(by_name)))
    if chosen is not None and not any(candidate.provider == chosen for candidate in candidates):
        looked = Block(listing(by_name[chosen].looks_for))
        raise refuse("detect/provider-mismatch", provider=chosen, looked=looked)
    if chosen is None:
        _refuse_unsupported(source, candidates)
    if not candidates:
        raise _nothing(source)
    return by_name[candidates[0].provider]


def _refuse_unsupported(source: Source, candidates: tuple[Candidate, ...]) -> None:
    if candidates and candidates[0].provider in {"dockerfile", "python"}:
        return
    for pattern, language in UNSUPPORTED:
        found = source.tree.files(pattern)
        if found:
            raise refuse("detect/unsupported", Evidence("file", found[0]), language=language, path=found[0])


def _nothing(source: Source) -> PlanError:
    seen = sorted(_root_names(source.tree))
    if not seen:
        return refuse("detect/empty")
    looked = listing(f"{provider.name}: {', '.join(provider.looks_for)}" for provider in PROVIDERS)
    hint = _nested_hint(source)
    return refuse("detect/nothing", looked=Block(looked), seen=Block(listing(seen)), hint=Block(hint))


def _root_names(tree: Tree) -> set[str]:
    """Names in the root, folders with a slash at their end."""
    names: set[str] = set()
    for entry in tree.entries():
        head, slash, _ = entry.path.partition("/")
        names.add(head + slash)
    return names


def _nested_hint(source: Source) -> str:
    nested = [path for name in _MANIFESTS for path in source.tree.files(f"*/{name}")]
    if not nested:
        return ""
    return f"\nThere are such files in folders below:\n{listing(nested, 5)}\nThe root of what is pushed has to be the app."


def _check_reserved(source: Source, planned: Plan) -> None:
    for path in planned.context_files:
        if source.tree.read(path) is not None:
            raise refuse("tree/reserved-path", Evidence("reserved", path), path=path)


def _losers(candidates: tuple[Candidate, ...], winner: str) -> Iterator[Note]:
    """Notes on what else matched; a Procfile only adds processes, so it is no loser."""
    for candidate in candidates:
        if candidate.provider not in {winner, "procfile"}:
            yield note("detect/also-matched", provider=candidate.provider, place=candidate.evidence[0].place)
