"""Which Node.js an app gets.

`engines.node` (else `devEngines.runtime`) decides what is allowed; the first of `cygni.toml`, `.nvmrc`,
`.node-version`, `.tool-versions` and `volta.node` picks inside it. A wide range gets a long-term release.
"""

from dataclasses import dataclass

from buildpacks.messages import note, refuse
from buildpacks.plan import Evidence, Note, Pick
from buildpacks.providers.base import Source
from buildpacks.providers.node.manifest import Manifest, versions_in_tool_files
from buildpacks.versions import Range, VersionError, major, newest_major, parse_npm

DEFAULT = 24
_LONG_TERM = (24, 22, 20, 18)
MAJORS = (*_LONG_TERM, 26, 25, 23, 21, 19, 17, 16, 15, 14)
"""Major versions that can be installed, in the order they are preferred: long-term support first."""

_CODENAMES = {"fermium": 14, "gallium": 16, "hydrogen": 18, "iron": 20, "jod": 22, "krypton": 24}
_FILES = (".nvmrc", ".node-version")


@dataclass(frozen=True)
class NodeVersion:
    """The versions to install one of: a range within one major."""

    major: int
    allowed: Range
    pick: Pick
    notes: tuple[Note, ...]

    @property
    def npm(self) -> int:
        """The major version of npm that runs on it (npm's own `engines`)."""
        if self.major >= DEFAULT:
            return 11
        return 10 if self.major >= 18 else 8 if self.major >= 16 else 6


@dataclass(frozen=True)
class _Request:
    text: str
    allowed: Range
    source: Evidence


def pick_node(source: Source, manifest: Manifest) -> NodeVersion:
    """Choose a major version and the range inside it.

    Raises:
        PlanError: a request cannot be read, cannot be met, or two contradict each other.
    """
    engine = _engine(manifest)
    file = _file(source, manifest)
    if engine and file and not engine.allowed & file.allowed:
        facts = {"place": file.source.place, "other": engine.source.place}
        raise refuse("node/version-conflict", file.source, requested=engine.text, picked=file.text, **facts)
    chosen = file or engine
    if chosen is None:
        return _default()
    allowed = engine.allowed & file.allowed if engine and file else chosen.allowed
    number = newest_major(allowed, MAJORS)
    if number is None:
        facts = {"oldest": str(min(MAJORS)), "newest": str(max(MAJORS))}
        raise refuse(
            "node/version-unavailable",
            chosen.source,
            requested=chosen.text,
            place=chosen.source.place,
            **facts,
        )
    others = (engine.source,) if engine and file else ()
    pick = Pick("node", chosen.text, _shown(allowed & major(number), number), chosen.source, others)
    return NodeVersion(number, allowed & major(number), pick, _width_notes(chosen, allowed, number))


def _width_notes(chosen: _Request, allowed: Range, number: int) -> tuple[Note, ...]:
    several = sum(1 for candidate in MAJORS if allowed & major(candidate)) > 1
    if not several:
        return ()
    return (note("node/wide-range", place=chosen.source.place, requested=chosen.text, version=number),)


def _default() -> NodeVersion:
    pick = Pick("node", None, f"{DEFAULT}.x", Evidence("default"))
    return NodeVersion(DEFAULT, major(DEFAULT), pick, (note("node/default-version", version=DEFAULT),))


def _shown(allowed: Range, number: int) -> str:
    """`22.x` for a whole line, the version for a single one, else the range."""
    low, high = allowed.intervals[0].low, allowed.intervals[0].high
    if len(allowed.intervals) == 1 and high == (low[0], low[1], low[2] + 1):
        return ".".join(map(str, low))
    return f"{number}.x" if allowed == major(number) else allowed.npm


def _engine(manifest: Manifest) -> _Request | None:
    text = manifest.engine("node")
    if text is not None:
        return _parse(text, manifest.place("node"))
    runtime = manifest.document.table("devEngines", "runtime")
    text = manifest.document.text_at("devEngines", "runtime", "version")
    if text is None or runtime.get("name") != "node":
        return None
    return _parse(text, manifest.place("runtime"))


def _file(source: Source, manifest: Manifest) -> _Request | None:
    setting = source.settings.versions.get("node")
    if setting is not None:
        return _parse(setting, source.settings.origin("versions.node"))
    for path in _FILES:
        lines = (source.text(path) or "").split("\n")
        for number, line in enumerate(lines, start=1):
            text = line.partition("#")[0].strip()
            if text:
                return _parse(text, Evidence("version", path, number))
    for tool in ("nodejs", "node"):
        for text, place in versions_in_tool_files(source, tool):
            return _parse(text, place)
    volta = manifest.document.text_at("volta", "node")
    return None if volta is None else _parse(volta, manifest.place("volta"))


def _parse(text: str, place: Evidence) -> _Request:
    try:
        return _Request(text, _range(text.strip()), place)
    except VersionError:
        raise refuse("node/invalid-version", place, requested=text, place=place.place) from None


def _range(text: str) -> Range:
    lowered = text.lower()
    if lowered in {"lts/*", "lts", "node", "stable", "latest", "current"}:
        return major(DEFAULT)
    if lowered.startswith("lts/"):
        if lowered.removeprefix("lts/") not in _CODENAMES:
            raise VersionError(text)
        return major(_CODENAMES[lowered.removeprefix("lts/")])
    return parse_npm(text)
