"""Node.js with npm. The runtime comes from npm's registry, so any published version can be had on any stack."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from buildpacks.messages import Block, listing, note, refuse
from buildpacks.plan import (
    CacheMount,
    Candidate,
    Copy,
    Evidence,
    Note,
    Pick,
    Plan,
    PlanError,
    Process,
    Run,
    Step,
)
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.providers.node_manifest import LOCKS, NAME, Manifest, check_lock, read_manifest
from buildpacks.providers.node_version import NodeVersion, pick_node

RUNTIME = "/opt/node"
_HEADERS = "/opt/node-headers"
_OTHER_LOCKS = (("yarn.lock", "yarn"), ("pnpm-lock.yaml", "pnpm"), ("bun.lockb", "bun"), ("bun.lock", "bun"))
_ARCHITECTURES = MappingProxyType({"amd64": "x64", "arm64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"})
_PLAIN_NODE = re.compile(r"node\s+((?:\./)?[A-Za-z0-9_][A-Za-z0-9_./-]*)")
_SAFE_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_QUIET = "--no-audit --no-fund --no-update-notifier"
_CACHE = CacheMount("npm", "/root/.npm")
_ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "PATH": f"{APP}/node_modules/.bin:{RUNTIME}/bin:{BASE_PATH}",
        "NODE_ENV": "production",
        # Node.js trusts only its own list of authorities unless told of the system's.
        "NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt",
    }
)


class Node:
    """package.json, npm, a Node.js of the app's choice at `/opt/node`."""

    name = "node"
    looks_for = (NAME,)

    def detect(self, source: Source) -> Candidate | None:
        """package.json; one that can neither start nor build anything is taken for tooling and ranks last."""
        if not source.has(NAME):
            return None
        return Candidate(self.name, 60 if _is_tooling(source) else 30, (Evidence("file", NAME),))

    def plan(self, source: Source) -> Plan:
        """Install from the manifests alone, build where there is a build script, drop what only the build needed."""
        manifest = read_manifest(source)
        manager, manager_notes = _package_manager(source, manifest)
        version = pick_node(source, manifest)
        process, start_notes = _web(source, manifest)
        return Plan(
            provider=self.name,
            picks=(version.pick, manager),
            steps=_steps(source, manifest, version),
            processes=(process,) if process else (),
            environment=_ENVIRONMENT,
            notes=(*version.notes, *manager_notes, *_manifest_notes(source, manifest), *start_notes),
            ignored=("node_modules",),
        )


def _is_tooling(source: Source) -> bool:
    try:
        manifest = read_manifest(source)
        has_web = source.procfile is not None and source.procfile.web is not None
    except PlanError:
        return False
    return not (has_web or _build_script(manifest) or _start(source, manifest))


def _package_manager(source: Source, manifest: Manifest) -> tuple[Pick, tuple[Note, ...]]:
    declared = manifest.package_manager
    lock = next((path for path in reversed(LOCKS) if source.has(path)), None)
    others = [(path, manager) for path, manager in _OTHER_LOCKS if source.has(path)]
    if declared not in {None, "npm"}:
        _refuse_manager(str(declared), manifest.place("packageManager"))
    if declared is None and others and lock:
        names = [lock, *(path for path, _ in others)]
        evidence = [Evidence("lock", name) for name in names]
        raise refuse("node/multiple-lockfiles", *evidence, files=Block(listing(names)))
    if declared is None and others:
        _refuse_manager(others[0][1], Evidence("lock", others[0][0]))
    if lock is None:
        notes = (note("node/no-lockfile"),) if manifest.installed else ()
        return Pick("package-manager", declared, "npm", manifest.place("packageManager")), notes
    check_lock(source, manifest, lock)
    return Pick("package-manager", declared, "npm", Evidence("lock", lock)), ()


def _refuse_manager(manager: str, place: Evidence) -> None:
    raise refuse("node/unsupported-package-manager", place, manager=manager, place=place.place)


def _manifest_notes(source: Source, manifest: Manifest) -> tuple[Note, ...]:
    notes = []
    if manifest.needs_tree:
        notes.append(note("node/whole-tree", what=manifest.needs_tree))
    if source.tree.files("node_modules/*/package.json"):
        notes.append(note("node/checked-in-modules"))
    return tuple(notes)


def _build_script(manifest: Manifest) -> str | None:
    """The script that builds; Heroku's hook replaces `build`, even when it is empty."""
    for name in ("heroku-postbuild", "build"):
        if name in manifest.scripts:
            return name if manifest.scripts[name] else None
    return None


def _web(source: Source, manifest: Manifest) -> tuple[Process | None, tuple[Note, ...]]:
    if not source.wants_web:
        return None, ()
    process = _start(source, manifest)
    if process is None:
        raise refuse("node/no-start", Evidence("start", NAME))
    direct = process.source.rule == "start" and process.argv[0] == "node"
    return process, (note("node/direct-start", command=process.command),) if direct else ()


def _start(source: Source, manifest: Manifest) -> Process | None:
    script = manifest.scripts.get("start")
    if script:
        return _start_script(manifest, script)
    main = manifest.main.removeprefix("./") if manifest.main else None
    for path, place in ((main, manifest.place("main")), ("server.js", None), ("index.js", None)):
        if path and _SAFE_PATH.fullmatch(path) and source.exists(path):
            return Process("web", f"node {path}", ("node", path), place or Evidence("file", path))
    return None


def _start_script(manifest: Manifest, script: str) -> Process:
    """Leave npm out where a script only starts a file: npm passes signals on badly."""
    plain = _PLAIN_NODE.fullmatch(script.strip())
    if plain and not {"prestart", "poststart"} & manifest.scripts.keys():
        return Process("web", f"node {plain[1]}", ("node", plain[1]), manifest.place("start"))
    return Process("web", "npm start", ("npm", "start"), manifest.place("start"))


def _steps(source: Source, manifest: Manifest, version: NodeVersion) -> tuple[Step, ...]:
    build = _build_script(manifest)
    whole = bool(manifest.needs_tree) or "binding.gyp" in source.root
    # What a script of the app may need is known after it ran; only without any are they left out from the start.
    keep_development = bool(build) or whole
    steps = [
        _runtime(source, version),
        _dependencies(source, manifest, whole=whole, development=keep_development),
    ]
    if keep_development:
        steps.append(_build(build, whole=whole))
        app: tuple[Copy, ...] = (Copy((APP,), APP, stage="build", owned=True),)
    else:
        folder = f"{APP}/node_modules"
        modules = (Copy((folder,), folder, stage="deps"),) if manifest.installed else ()
        app = (*modules, Copy((".",), APP, owned=True))
    return (*steps, Step("image", "run", (Copy((RUNTIME,), RUNTIME, stage="node"), *app)))


def _runtime(source: Source, version: NodeVersion) -> Step:
    """Node.js and npm, fetched with the build image's own npm. Nothing of the app is in this step, so that apps with the same version share its layer."""
    architecture = _ARCHITECTURES.get(source.settings.stack.architecture, source.settings.stack.architecture)
    package = f"node-linux-{architecture}"
    installed = f"{RUNTIME}/node_modules/{package}"
    packages = f"'{package}@{version.allowed.npm}' npm@{version.npm}"
    commands = (
        f"npm install --prefix {RUNTIME} --cache /tmp/npm --no-save --ignore-scripts --loglevel error {_QUIET} {packages}",
        # Headers are for compiling native modules; the image does not need them.
        f"mkdir {RUNTIME}/bin {_HEADERS}",
        f"if [ -d {installed}/include ]; then mv {installed}/include {_HEADERS}/; fi",
        f"rm -rf {installed}/share",
        f"ln -s ../node_modules/{package}/bin/node {RUNTIME}/bin/node",
        f"ln -s ../node_modules/npm/bin/npm-cli.js {RUNTIME}/bin/npm",
        f"ln -s ../node_modules/npm/bin/npx-cli.js {RUNTIME}/bin/npx",
        f"{RUNTIME}/bin/node --version",
        "rm -rf /tmp/npm",
    )
    # Where node-gyp looks for headers: npm 11 warns of the older name and passes the newer one on.
    name = "npm_package_config_node_gyp_nodedir" if version.npm >= 11 else "npm_config_nodedir"
    return Step("node", "build", (Run(" && ".join(commands)),), {**_ENVIRONMENT, name: _HEADERS})


def _dependencies(source: Source, manifest: Manifest, *, whole: bool, development: bool) -> Step:
    names = [name for name in (NAME, *LOCKS, ".npmrc") if source.has(name)]
    copy = Copy((".",), APP) if whole else Copy(tuple(names), f"{APP}/")
    if not (manifest.installed or whole):
        return Step("deps", "node", (copy,))
    verb = "ci" if any(source.has(lock) for lock in LOCKS) else "install"
    kind = "--include=dev" if development else "--omit=dev"
    tokens = any(name.startswith(("NPM_", "NODE_AUTH_TOKEN", "npm_config_")) for name in source.env_names)
    return Step(
        "deps",
        "node",
        (
            copy,
            Run(f"npm {verb} {kind} {_QUIET} && mkdir -p node_modules", (_CACHE,), secrets=whole or tokens),
        ),
    )


def _build(script: str | None, *, whole: bool) -> Step:
    prune = f"npm prune --omit=dev --ignore-scripts {_QUIET}"
    command = f"npm run {script} && {prune}" if script else prune
    source: tuple[Copy, ...] = () if whole else (Copy((".",), APP),)
    return Step("build", "deps", (*source, Run(command, secrets=bool(script))))
