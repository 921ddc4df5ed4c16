"""Static sites, served by a small server of ours."""

import re
from dataclasses import dataclass
from importlib.resources import files

from buildpacks.messages import note
from buildpacks.plan import Candidate, Copy, Evidence, Plan, Process, Step
from buildpacks.providers.base import APP, Source

_INDEX = "index.html"
_CONFIG = "Staticfile"
_FOLDERS = ("public", "dist", "build", "_site", "site")
_CONTEXT_NAME = ".cygni/static-server.py"
_SERVER = "/opt/cygni/static-server.py"
_SETTING = re.compile(r"(root|index_fallback)\s*:\s*['\"]?([A-Za-z0-9_./-]+)['\"]?\s*")
_SAFE_ROOT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(?:/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class _Site:
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
        site = _find(source) or _Site("", fallback=False, evidence=Evidence("default"))
        copies = (Copy((_CONTEXT_NAME,), _SERVER), Copy((".",), APP, owned=True))
        return Plan(
            provider=self.name,
            steps=(Step("image", "run", copies),),
            processes=(_web(site),) if source.wants_web else (),
            notes=(note("static/root", root=site.root),) if site.root else (),
            context_files={
                _CONTEXT_NAME: files("buildpacks.providers").joinpath("static_server.py").read_bytes()
            },
        )


def _web(site: _Site) -> Process:
    root = f"{APP}/{site.root}".rstrip("/")
    options = ("--fallback",) if site.fallback else ()
    return Process(
        "web", f"static-server {root}", ("/usr/bin/python3", "-I", _SERVER, *options, root), site.evidence
    )


def _find(source: Source) -> _Site | None:
    lines = (source.text(_CONFIG) or "").split("\n")
    settings = {match[1]: match[2] for line in lines if (match := _SETTING.fullmatch(line.strip()))}
    fallback = settings.get("index_fallback") == "true"
    root = settings.get("root", "").strip("/").removeprefix("./")
    if root and _SAFE_ROOT.fullmatch(root):
        return _Site(root, fallback, Evidence("root", _CONFIG))
    for folder in _FOLDERS:
        if source.exists(f"{folder}/{_INDEX}"):
            return _Site(folder, fallback, Evidence("file", f"{folder}/{_INDEX}"))
    if _INDEX in source.root or source.has(_CONFIG):
        return _Site("", fallback, Evidence("file", _INDEX if _INDEX in source.root else _CONFIG))
    return None
