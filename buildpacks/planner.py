"""From a tree to a plan, or to the failure that says why there is none."""

from collections.abc import Iterator
from dataclasses import replace

from buildpacks.detect import detect_source
from buildpacks.messages import Block, failure, listing, note, refuse
from buildpacks.plan import (
    BuildSettings,
    Candidate,
    Evidence,
    Failure,
    Note,
    Plan,
    PlanError,
    Run,
    Setting,
    SystemPackage,
)
from buildpacks.ports import Tree, TreeLimitError
from buildpacks.providers.base import Provider, Source
from buildpacks.providers.registry import PROVIDERS
from buildpacks.repository_settings import described, with_repository
from buildpacks.system_packages import in_suite
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
    try:
        source, notes = with_repository(Source(tree, settings or BuildSettings(), env_names))
        return _plan(source, notes)
    except PlanError as error:
        return error.failure
    except TreeLimitError as error:
        return failure("tree/limit", detail=str(error))
    except TreeError as error:
        return failure("tree/unreadable", detail=str(error))


def _plan(source: Source, settings_notes: tuple[Note, ...]) -> Plan:
    candidates = detect_source(source)
    provider = _choose(source, candidates)
    planned = _with_settings(source, provider.plan(source))
    _check_reserved(source, planned)
    file = source.procfile
    beside = {pick.name for pick in planned.picks}
    notes = (
        *settings_notes,
        *_losers(candidates, provider.name, beside),
        *(file.notes if file else ()),
        *planned.notes,
    )
    if file is None:
        return replace(planned, notes=notes)
    return replace(planned, notes=notes, processes=file.processes or planned.processes, release=file.release)


def _with_settings(source: Source, planned: Plan) -> Plan:
    """Add what the settings say to what the provider planned."""
    settings = source.settings
    unused = settings.build_command is not None and not any(
        isinstance(action, Run) and action.foreign for step in planned.steps for action in step.actions
    )
    notes = (note("settings/unused-command", provider=planned.provider),) if unused else ()
    own = planned.dockerfile is not None
    return replace(
        planned,
        root="" if settings.member else settings.root,
        settings=tuple(Setting(*row) for row in described(settings)),
        build_packages=() if own else _packages(planned, planned.build_packages, settings, "build"),
        run_packages=() if own else _packages(planned, planned.run_packages, settings, "run"),
        notes=(*planned.notes, *notes),
    )


def _packages(
    planned: Plan, packages: tuple[SystemPackage, ...], settings: BuildSettings, kind: str
) -> tuple[SystemPackage, ...]:
    """What the provider planned, by its names in the plan's suite, and what the settings add."""
    asked = settings.build_packages if kind == "build" else settings.run_packages
    found = {package.name: package for package in (in_suite(item, planned.suite) for item in packages)}
    for name in asked:
        found.setdefault(name, SystemPackage(name, settings.origin(f"packages.{kind}.{name}")))
    return tuple(found.values())


def _choose(source: Source, candidates: tuple[Candidate, ...]) -> Provider:
    by_name = {provider.name: provider for provider in PROVIDERS}
    chosen, place = source.settings.provider, source.settings.origin("build.provider")
    if source.settings.member and chosen is None and source.has("package.json"):
        return by_name["node"]
    if source.settings.member and chosen != "node":
        where = source.settings.origin("build.context")
        raise refuse("settings/context", where, place=where.place, root=source.settings.root)
    if chosen is not None and chosen not in by_name:
        raise refuse(
            "detect/unknown-provider",
            place,
            place=place.place,
            provider=chosen,
            known=", ".join(sorted(by_name)),
        )
    if chosen is not None and not any(candidate.provider == chosen for candidate in candidates):
        looked = Block(listing(by_name[chosen].looks_for))
        raise refuse("detect/provider-mismatch", place, place=place.place, provider=chosen, looked=looked)
    if not candidates:
        raise _nothing(source)
    return by_name[candidates[0].provider]


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
    return f"\nThere are such files in folders below:\n{listing(nested, 5)}\nSet build.root in cygni.toml to the folder of the app."


def _check_reserved(source: Source, planned: Plan) -> None:
    for path in planned.context_files:
        if source.tree.read(path) is not None:
            raise refuse("tree/reserved-path", Evidence("reserved", path), path=path)


def _losers(candidates: tuple[Candidate, ...], winner: str, beside: set[str]) -> Iterator[Note]:
    """Notes on what else matched; a Procfile only adds processes, and a language that builds assets is no loser."""
    for candidate in candidates:
        if candidate.provider not in {winner, "procfile", *beside}:
            yield note("detect/also-matched", provider=candidate.provider, place=candidate.evidence[0].place)
