"""The Node.js step of an app in another language: its package.json has a build script, and what that writes is served.

The stage works on a copy of the source; the app's own stages then take the source from there instead of the tree.
"""

from dataclasses import dataclass, replace

from buildpacks.messages import note
from buildpacks.plan import Copy, Note, Pick, Run, Step
from buildpacks.providers.base import APP, Source
from buildpacks.providers.node.manifest import NAME
from buildpacks.providers.node.provider import build_notes, read_build
from buildpacks.providers.node.steps import Build, dependencies, runtime


@dataclass(frozen=True)
class Assets:
    """What the assets step adds to a plan; nothing without one."""

    steps: tuple[Step, ...] = ()
    picks: tuple[Pick, ...] = ()
    notes: tuple[Note, ...] = ()
    ignored: tuple[str, ...] = ()

    def source(self, *, owned: bool = False) -> Copy:
        """Brings the source, built where there is something to build."""
        if self.steps:
            return Copy((APP,), APP, stage="assets", owned=owned)
        return Copy((".",), APP, owned=owned)


def find_assets(source: Source) -> Assets:
    """The assets step that package.json asks for.

    Raises:
        PlanError: package.json, a lockfile or a version in it is wrong.
    """
    if not source.settings.assets or not source.has(NAME):
        return Assets()
    build = read_build(source)
    if not build.scripts:
        return Assets()
    script = build.scripts[0]
    told = note("assets/step", manager=build.tooling.manager.name, script=script)
    return Assets(
        steps=(*runtime(build), dependencies(build, development=True, name="assets-deps"), _assets(build)),
        picks=(build.version.pick, replace(build.tooling.pick, name="assets-package-manager")),
        notes=(told, *build_notes(build)),
        ignored=("node_modules",),
    )


def _assets(build: Build) -> Step:
    """Build, then leave Node.js's modules behind: only what was written is wanted."""
    source = () if build.whole else (Copy((".",), APP),)
    script = f"{build.tooling.manager.name} run {build.scripts[0]}"
    return Step("assets", "assets-deps", (*source, Run(f"{script} && rm -rf node_modules", secrets=True)))
