"""The stages that build a Node.js app, or the assets of an app in another language."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from buildpacks.plan import Copy, Run, Step
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.providers.node.managers import BERRY, BUN, NPM, PNPM, QUIET, YARN, Tooling
from buildpacks.providers.node.manifest import NAME, Manifest, members
from buildpacks.providers.node.version import NodeVersion

RUNTIME = "/opt/node"
_HEADERS = "/opt/node-headers"
_ARCHITECTURES = MappingProxyType({"amd64": "x64", "arm64": "arm64", "ppc64le": "ppc64le", "s390x": "s390x"})
_BUN_ARCHITECTURES = MappingProxyType({"amd64": "x64-baseline", "arm64": "aarch64"})
ENVIRONMENT: Mapping[str, str] = MappingProxyType(
    {
        "PATH": f"{APP}/node_modules/.bin:{RUNTIME}/bin:{BASE_PATH}",
        "NODE_ENV": "production",
        # Node.js trusts only its own list of authorities unless told of the system's.
        "NODE_EXTRA_CA_CERTS": "/etc/ssl/certs/ca-certificates.crt",
    }
)
_TOKEN_NAMES = ("NPM_", "NODE_AUTH_TOKEN", "npm_config_", "YARN_", "PNPM_", "BUN_")


@dataclass(frozen=True)
class Build:
    """What is known of a Node.js build before its stages are written."""

    source: Source
    """The build's context: what is installed from."""
    workspace: Manifest
    """The context's package.json."""
    app: Source
    """The app's folder: the context, or a member of its workspace."""
    manifest: Manifest
    """The app's package.json."""
    version: NodeVersion
    tooling: Tooling

    @property
    def folder(self) -> str:
        """Where the app is in the build and in the image."""
        return f"{APP}/{self.source.settings.member}".rstrip("/")

    def in_app(self, command: str) -> str:
        """A command that runs in the app's folder; steps run in the context's."""
        return command if self.folder == APP else f"cd {self.folder} && {command}"

    @property
    def scripts(self) -> tuple[str, ...]:
        """Scripts that build, in order; Heroku's hook replaces `build`, even when it is empty."""
        for name in ("heroku-postbuild", "build"):
            if name in self.manifest.scripts:
                return (name,) if self.manifest.scripts[name] else ()
        return ()

    @property
    def whole(self) -> bool:
        """Whether installing needs all of the tree."""
        unclear = self.member_folders is None
        return bool(self.workspace.needs_tree) or "binding.gyp" in self.source.root or unclear

    @property
    def builds(self) -> bool:
        """Whether something of the app runs in the build."""
        return bool(self.scripts or self.source.settings.build_command)

    @property
    def patterns(self) -> tuple[str, ...]:
        """Globs of the workspace's members."""
        if self.tooling.manager is not PNPM:
            return self.workspace.workspaces
        return _pnpm_patterns(self.source.text("pnpm-workspace.yaml") or "")

    @property
    def member_folders(self) -> tuple[str, ...] | None:
        """Folders of the workspace's members; None when they can't be told."""
        return members(self.source, self.patterns)


def runtime(build: Build) -> tuple[Step, ...]:
    """Node.js, npm and the app's package manager, fetched with the build image's own npm.

    Nothing of the app is in these steps, so that apps with the same versions share their layers.
    """
    steps = [_node(build)]
    if build.tooling.manager is not NPM:
        steps.append(_manager(build))
    return tuple(steps)


def _node(build: Build) -> Step:
    version, machine = build.version, build.source.settings.stack.architecture
    package = f"node-linux-{_ARCHITECTURES.get(machine, machine)}"
    installed = f"{RUNTIME}/node_modules/{package}"
    npm = (build.tooling.version if build.tooling.manager is NPM else "") or str(version.npm)
    packages = f"'{package}@{version.allowed.npm}' 'npm@{npm}'"
    commands = (
        f"npm install --prefix {RUNTIME} --cache /tmp/npm --no-save --ignore-scripts --loglevel error {QUIET} {packages}",
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
    name = "npm_package_config_node_gyp_nodedir" if _first_number(npm) >= 11 else "npm_config_nodedir"
    return Step("node", "build", (Run(" && ".join(commands)),), {**ENVIRONMENT, name: _HEADERS})


def _first_number(version: str) -> int:
    match = re.search(r"\d+", version)
    return int(match[0]) if match else 0


def _manager(build: Build) -> Step:
    """The package manager in a folder of its own, linked where programs are looked for."""
    tooling, folder = build.tooling, f"{RUNTIME}/manager"
    package, links = _package(build)
    fetch = f"npm install --prefix {folder} --cache /tmp/npm --no-save --ignore-scripts --loglevel error {QUIET} '{package}'"
    commands = [
        fetch,
        *(f"ln -s ../manager/node_modules/{target} {RUNTIME}/bin/{name}" for name, target in links),
    ]
    commands += [f"{RUNTIME}/bin/{links[0][0]} --version", "rm -rf /tmp/npm"]
    return Step("manager", "node", (Run(" && ".join(commands)),), tooling.build_environment)


def _package(build: Build) -> tuple[str, tuple[tuple[str, str], ...]]:
    """The package to install, and the programs in it by name."""
    tooling, machine = build.tooling, build.source.settings.stack.architecture
    if tooling.manager is BUN:
        # The package `bun` fetches its program in a script; this is what it would fetch, for any processor.
        package = f"@oven/bun-linux-{_BUN_ARCHITECTURES.get(machine, machine)}"
        return f"{package}@{tooling.version}", (("bun", f"{package}/bin/bun"), ("bunx", f"{package}/bin/bun"))
    if tooling.manager is PNPM:
        return f"pnpm@{tooling.version}", (("pnpm", "pnpm/bin/pnpm.cjs"), ("pnpx", "pnpm/bin/pnpx.cjs"))
    if tooling.manager is BERRY and not tooling.vendored:
        return f"{BERRY.package}@{tooling.version}", (("yarn", f"{BERRY.package}/bin/yarn.js"),)
    # Yarn 1 hands over to the release that the tree brings.
    version = YARN.default if tooling.vendored else tooling.version
    return f"yarn@{version}", (("yarn", "yarn/bin/yarn.js"),)


def dependencies(build: Build, *, development: bool, name: str = "deps") -> Step:
    """Install from the manifests alone, where nothing else of the tree is needed."""
    base = "node" if build.tooling.manager is NPM else "manager"
    if not (build.workspace.installed or build.whole or build.patterns):
        return Step(name, base, _manifests(build))
    tokens = any(name.startswith(_TOKEN_NAMES) for name in build.source.env_names)
    secrets = build.whole or tokens
    modules = "" if build.tooling.pnp else " && mkdir -p node_modules"
    install = Run(
        f"{build.tooling.install(development=development)}{modules}", build.tooling.caches, secrets=secrets
    )
    before: tuple[Run, ...] = ()
    if build.manifest.scripts.get("heroku-prebuild"):
        script = build.in_app(f"{build.tooling.manager.name} run heroku-prebuild")
        before = (Run(script, secrets=True),)
    return Step(name, base, (*_manifests(build), *before, install))


def _manifests(build: Build) -> tuple[Copy, ...]:
    if build.whole:
        return (Copy((".",), APP),)
    manager, source = build.tooling.manager, build.source
    names = [name for name in (NAME, *manager.locks[::-1], *manager.files) if source.has(name)]
    copies = [Copy(tuple(names), f"{APP}/")]
    # Patches are applied, releases and plugins are run while dependencies are installed.
    copies += [Copy((folder,), f"{APP}/{folder}") for folder in _FOLDERS if source.tree.files(f"{folder}/*")]
    copies += [Copy((f"{folder}/{NAME}",), f"{APP}/{folder}/") for folder in build.member_folders or ()]
    return tuple(copies)


_FOLDERS = ("patches", "prisma", ".yarn/releases", ".yarn/plugins", ".yarn/patches", ".yarn/cache")


def build_commands(build: Build) -> list[Run]:
    """What builds; the owner's command replaces the scripts."""
    own = build.source.settings.build_command
    if own:
        return [Run(build.in_app(own), secrets=True, foreign=True)]
    manager = build.tooling.manager.name
    return [Run(build.in_app(f"{manager} run {name}"), secrets=True) for name in build.scripts]


def final_commands(build: Build) -> list[Run]:
    """What runs after the build: development dependencies go, then the clean-up script."""
    prune = build.tooling.prune(workspace=bool(build.patterns))
    needs = build.workspace.installed or build.whole or build.patterns
    commands = [Run(prune, build.tooling.caches)] if prune and needs else []
    if build.manifest.scripts.get("heroku-cleanup"):
        commands.append(Run(build.in_app(f"{build.tooling.manager.name} run heroku-cleanup"), secrets=True))
    return commands


def _pnpm_patterns(text: str) -> tuple[str, ...]:
    """The list under `packages:`; the only part of the file that matters here, and always written as a block."""
    found, inside = [], False
    for line in text.split("\n"):
        stripped = line.partition(" #")[0].strip()
        if inside and stripped.startswith("- "):
            found.append(stripped[2:].strip().strip("\"'"))
        elif stripped:
            inside = stripped == "packages:"
    return tuple(found)
