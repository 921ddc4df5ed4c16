"""A folder of files as a plan: served by a small server of ours, on the stack's Python."""

from dataclasses import dataclass
from importlib.resources import files

from buildpacks.plan import Copy, Evidence, Note, Pick, Plan, Process, Step
from buildpacks.providers.base import APP

CONTEXT_NAME = ".cygni/static-server.py"
SERVER = "/opt/cygni/static-server.py"


@dataclass(frozen=True)
class Site:
    """Where a site is in the image, and whether unknown paths get its index (single-page apps).

    `copied` is a folder and the stage that built it; without it the tree itself is copied.
    """

    folder: str
    fallback: bool
    evidence: Evidence
    copied: tuple[str, str] | None = None


def serve(
    site: Site,
    *,
    provider: str,
    suite: str = "bookworm",
    picks: tuple[Pick, ...] = (),
    steps: tuple[Step, ...] = (),
    notes: tuple[Note, ...] = (),
    ignored: tuple[str, ...] = (),
    web: bool = True,
) -> Plan:
    """The plan that ends in an image with the server and the files."""
    content = Copy((".",), APP, owned=True)
    if site.copied is not None:
        content = Copy((site.copied[0],), site.folder, stage=site.copied[1], owned=True)
    image = Step("image", "run", (Copy((CONTEXT_NAME,), SERVER), content))
    server = files("buildpacks.providers").joinpath("static_server.py").read_bytes()
    return Plan(
        provider=provider,
        suite=suite,
        picks=picks,
        steps=(*steps, image),
        processes=(_web(site),) if web else (),
        notes=notes,
        context_files={CONTEXT_NAME: server},
        ignored=ignored,
    )


def _web(site: Site) -> Process:
    options = ("--fallback",) if site.fallback else ()
    argv = ("/usr/bin/python3", "-I", SERVER, *options, site.folder)
    return Process("web", f"static-server {site.folder}", argv, site.evidence)
