"""Node.js: what makes a Node.js app, and what of it runs. The runtime comes from npm's registry, so any published version can be had on any stack."""

import re
from dataclasses import replace

from buildpacks.messages import note, refuse
from buildpacks.plan import Candidate, Copy, Evidence, Note, Plan, PlanError, Process, Step
from buildpacks.procfile import shell_process
from buildpacks.providers.base import APP, Source
from buildpacks.providers.node.frameworks import Output, framework_of, has_own_start, static_output
from buildpacks.providers.node.managers import BUN, choose_manager
from buildpacks.providers.node.manifest import NAME, Manifest, read_manifest
from buildpacks.providers.node.steps import (
    ENVIRONMENT,
    RUNTIME,
    Build,
    build_commands,
    dependencies,
    final_commands,
    runtime,
)
from buildpacks.providers.node.version import pick_node
from buildpacks.providers.site import Site, serve
from buildpacks.subtree import SubTree
from buildpacks.system_packages import packages_for

_PLAIN_NODE = re.compile(r"node\s+((?:\./)?[A-Za-z0-9_][A-Za-z0-9_./-]*)")
_SAFE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")


class Node:
    """package.json, and a Node.js of the app's choice at `/opt/node`."""

    name = "node"
    looks_for = (NAME,)

    def detect(self, source: Source) -> Candidate | None:
        """package.json; one that can neither start nor build anything is taken for tooling and ranks last."""
        if not source.has(NAME):
            return None
        return Candidate(self.name, 60 if _is_tooling(source) else 30, (Evidence("file", NAME),))

    def plan(self, source: Source) -> Plan:
        """Install from the manifests alone, build where there is a build script, drop what only the build needed."""
        build = read_build(source)
        output = static_output(build.app, build.manifest) if source.wants_web else None
        if output is not None:
            return _static_plan(build, output)
        process, start_notes = _web(build)
        system = packages_for("node", _asked(build.manifest))
        framework = framework_of(build.manifest)
        return Plan(
            provider=self.name,
            suite=source.settings.stack.suite,
            picks=(build.version.pick, build.tooling.pick),
            steps=_steps(build),
            processes=(process,) if process else (),
            environment={
                **ENVIRONMENT,
                **(
                    {}
                    if build.folder == APP
                    else {"PATH": f"{build.folder}/node_modules/.bin:{ENVIRONMENT['PATH']}"}
                ),
                **build.tooling.environment,
                **dict(framework.variables if framework else ()),
            },
            folder=build.folder,
            notes=(*build_notes(build), *start_notes),
            ignored=("node_modules",),
            build_packages=system.build,
            run_packages=system.run,
        )


def read_build(source: Source) -> Build:
    """Read what a Node.js build depends on.

    Raises:
        PlanError: a file is wrong.
    """
    workspace = read_manifest(source)
    app, manifest = source, workspace
    if source.settings.member:
        app = replace(source, tree=SubTree(source.tree, source.settings.member))
        if not app.has(NAME):
            place = source.settings.origin("build.root")
            raise refuse("node/no-member", place, folder=source.settings.member, place=place.place)
        manifest = read_manifest(app)
    tooling = choose_manager(source, workspace)
    asked = manifest if manifest.engine("node") else workspace
    return Build(source, workspace, app, manifest, pick_node(source, asked), tooling)


def build_notes(build: Build) -> tuple[Note, ...]:
    """What the pusher should know about the build."""
    notes = [*build.version.notes, *build.tooling.notes]
    if build.whole:
        notes.append(note("node/whole-tree", what=build.workspace.needs_tree or "parts that need the source"))
    if build.source.tree.files("node_modules/*/package.json"):
        notes.append(note("node/checked-in-modules"))
    return tuple(notes)


def _is_tooling(source: Source) -> bool:
    try:
        build = read_build(source)
        has_web = source.procfile is not None and source.procfile.web is not None
    except PlanError:
        return False
    return not (has_web or build.builds or _start(build))


def _asked(manifest: Manifest) -> dict[str, Evidence]:
    return {name: manifest.place(name) for name in manifest.dependencies}


def _static_plan(build: Build, output: Output) -> Plan:
    """Build with Node.js, serve the files without it."""
    steps = [*runtime(build), dependencies(build, development=True)]
    source = () if build.whole else (Copy((".",), APP),)
    steps.append(Step("build", "deps", (*source, *build_commands(build))))
    site = Site(APP, output.fallback, output.source, copied=(f"{build.folder}/{output.folder}", "build"))
    planned = serve(
        site,
        provider="node",
        suite=build.source.settings.stack.suite,
        picks=(build.version.pick, build.tooling.pick),
        steps=tuple(steps),
        notes=(*build_notes(build), note("node/static-output", folder=output.folder)),
        ignored=("node_modules",),
    )
    return replace(planned, build_packages=packages_for("node", _asked(build.manifest)).build)


def _web(build: Build) -> tuple[Process | None, tuple[Note, ...]]:
    if not build.source.wants_web:
        return None, ()
    process = _start(build)
    if process is None:
        raise refuse("node/no-start", Evidence("start", NAME))
    direct = process.source.rule == "start" and process.argv[0] == "node"
    return process, (note("node/direct-start", command=process.command),) if direct else ()


def _start(build: Build) -> Process | None:
    manifest, source = build.manifest, build.app
    script, framework = manifest.scripts.get("start"), framework_of(build.manifest)
    if (
        framework
        and framework.start
        and not has_own_start(manifest, framework)
        and manifest.scripts.get("build")
    ):
        package = next(name for name in framework.packages if name in manifest.dependencies)
        run = f"yarn {framework.start}" if build.tooling.pnp else framework.start
        return shell_process("web", run, manifest.place(package))
    if script:
        return _start_script(build, script)
    main = manifest.main.removeprefix("./") if manifest.main else None
    files = ((main, manifest.place("main")), ("server.js", None), ("index.js", None), *_typed(build))
    for path, place in files:
        if path and _SAFE_PATH.fullmatch(path) and source.exists(path):
            return _run_file(build, path, place or Evidence("file", path))
    return None


def _typed(build: Build) -> tuple[tuple[str, None], ...]:
    """TypeScript is what Bun runs as it is."""
    return (
        (("index.ts", None), ("src/index.ts", None), ("server.ts", None))
        if build.tooling.manager is BUN
        else ()
    )


def _run_file(build: Build, path: str, place: Evidence) -> Process:
    if build.tooling.manager is BUN:
        return Process("web", f"bun {path}", ("bun", path), place)
    if build.tooling.pnp:
        return Process("web", f"yarn node {path}", ("yarn", "node", path), place)
    return Process("web", f"node {path}", ("node", path), place)


def _start_script(build: Build, script: str) -> Process:
    """Leave the package manager out where a script only starts a file: they pass signals on badly."""
    manifest, place = build.manifest, build.manifest.place("start")
    plain = _PLAIN_NODE.fullmatch(script.strip())
    if plain and not build.tooling.pnp and not {"prestart", "poststart"} & manifest.scripts.keys():
        return Process("web", f"node {plain[1]}", ("node", plain[1]), place)
    name = build.tooling.manager.name
    argv = (name, "run", "start") if name == "bun" else (name, "start")
    return Process("web", " ".join(argv), argv, place)


def _steps(build: Build) -> tuple[Step, ...]:
    # What a script of the app may need is known after it ran; only without any are they left out from the start.
    # Yarn 2 and newer can only leave them out afterwards.
    only_after = not build.tooling.manager.production
    keep_development = build.builds or build.whole or bool(build.patterns) or only_after
    pnp = build.tooling.pnp
    steps = [*runtime(build), dependencies(build, development=keep_development)]
    tools = Copy((RUNTIME,), RUNTIME, stage="node" if len(steps) == 2 else "manager")
    if keep_development or pnp:
        source = () if build.whole else (Copy((".",), APP),)
        commands = [*build_commands(build), *final_commands(build)]
        steps.append(Step("build", "deps", (*source, *commands)))
        app: tuple[Copy, ...] = (Copy((APP,), APP, stage="build", owned=True),)
    else:
        folder = f"{APP}/node_modules"
        modules = (Copy((folder,), folder, stage="deps"),) if build.workspace.installed else ()
        app = (*modules, Copy((".",), APP, owned=True))
    return (*steps, Step("image", "run", (tools, *app)))
