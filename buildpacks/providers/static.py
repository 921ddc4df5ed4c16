"""Static sites, served by a small server of ours."""

import re
from dataclasses import dataclass, replace

from buildpacks.messages import note
from buildpacks.plan import Candidate, Copy, Evidence, Plan, Run, Step
from buildpacks.providers.base import APP, Source
from buildpacks.providers.site import Site, serve

_INDEX = "index.html"
_CONFIG = "Staticfile"
_FOLDERS = ("public", "dist", "build", "_site", "site")
_SETTING = re.compile(r"(root|index_fallback)\s*:\s*['\"]?([A-Za-z0-9_./-]+)['\"]?\s*")
_SAFE_ROOT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class _Found:
    """Where a site is in the tree (empty: the root), and whether unknown paths get its index (single-page apps)."""

    root: str
    fallback: bool
    evidence: Evidence


class Static:
    """An index.html, in the root or in a folder that builds usually write to."""

    name = "static"
    looks_for = (_INDEX, *(f"{folder}/{_INDEX}" for folder in _FOLDERS), _CONFIG)

    def detect(self, source: Source) -> Candidate | None:
        """An index page somewhere it is usually put."""
        site = _find(source)
        return Candidate(self.name, 50, (site.evidence,)) if site else None

    def plan(self, source: Source) -> Plan:
        """Copy the source beside the server."""
        found = _find(source) or _Found("", fallback=False, evidence=Evidence("default"))
        site = Site(f"{APP}/{found.root}".rstrip("/"), found.fallback, found.evidence)
        notes = (note("static/root", root=found.root),) if found.root else ()
        suite, command = source.settings.stack.suite, source.settings.build_command
        steps: tuple[Step, ...] = ()
        if command:
            run = Run(command, secrets=True, foreign=True)
            steps = (Step("build", "build", (Copy((".",), APP), run)),)
            site = replace(site, copied=(site.folder, "build"))
        return serve(site, provider=self.name, suite=suite, steps=steps, notes=notes, web=source.wants_web)


def _find(source: Source) -> _Found | None:
    lines = (source.text(_CONFIG) or "").split("\n")
    settings = {match[1]: match[2] for line in lines if (match := _SETTING.fullmatch(line.strip()))}
    fallback = settings.get("index_fallback") == "true"
    root = settings.get("root", "").strip("/").removeprefix("./")
    if root and _SAFE_ROOT.fullmatch(root):
        return _Found(root, fallback, Evidence("root", _CONFIG))
    for folder in _FOLDERS:
        if source.exists(f"{folder}/{_INDEX}"):
            return _Found(folder, fallback, Evidence("file", f"{folder}/{_INDEX}"))
    if _INDEX in source.root or source.has(_CONFIG):
        return _Found("", fallback, Evidence("file", _INDEX if _INDEX in source.root else _CONFIG))
    return None
