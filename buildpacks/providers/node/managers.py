"""JavaScript's package managers: which one an app uses, in which version, and how each installs and prunes.

What decides, the first that holds: `cygni.toml`; `packageManager` (or `devEngines.packageManager`); the one lockfile;
`engines`; npm. Two lockfiles of different managers are refused unless something before them decides.
"""

import re
from dataclasses import dataclass

from buildpacks.messages import Block, listing, note, refuse
from buildpacks.plan import CacheMount, Evidence, Note, Pick
from buildpacks.providers.base import Source
from buildpacks.providers.node.manifest import LOCKS, NAME, Manifest, check_lock

QUIET = "--no-audit --no-fund --no-update-notifier"
_VERSION = re.compile(r"\d{1,3}(?:\.(?:\d{1,4}|x)){0,2}(?:-[0-9A-Za-z.]{1,20})?")
_RANGE = re.compile(r"[\^~]?\d{1,3}(?:\.(?:\d{1,4}|x|\*)){0,2}")
_YARN_PATH = re.compile(r"^yarnPath:\s*[\"']?([A-Za-z0-9_.][A-Za-z0-9_./-]*)[\"']?\s*$", re.MULTILINE)
_LINKER = re.compile(r"^nodeLinker:\s*[\"']?(\S+?)[\"']?\s*$", re.MULTILINE)
_PNPM_LOCK = re.compile(r"^lockfileVersion:\s*['\"]?(\d+\.\d+)", re.MULTILINE)
_PNPM_BY_LOCK = {"5.3": "6", "5.4": "7", "6.0": "8", "6.1": "8", "9.0": "10"}


@dataclass(frozen=True)
class Manager:
    """A package manager. `package` is its name in npm's registry; npm itself comes with the runtime."""

    name: str
    title: str
    locks: tuple[str, ...]
    files: tuple[str, ...]
    """Its settings, which installing needs beside the manifest and the lock."""
    package: str
    default: str
    locked: str
    loose: str
    production: str
    """What `locked` and `loose` are followed by when development dependencies are left out from the start."""
    prune_command: str
    cache: CacheMount


NPM = Manager(
    "npm",
    "npm",
    ("npm-shrinkwrap.json", "package-lock.json"),
    (".npmrc",),
    "npm",
    "",
    f"npm ci --include=dev {QUIET}",
    f"npm install --include=dev {QUIET}",
    "--omit=dev",
    f"npm prune --omit=dev --ignore-scripts {QUIET}",
    CacheMount("npm", "/root/.npm"),
)
YARN = Manager(
    "yarn",
    "Yarn",
    ("yarn.lock",),
    (".npmrc", ".yarnrc"),
    "yarn",
    "1.22.22",
    "yarn install --frozen-lockfile --non-interactive --production=false",
    "yarn install --non-interactive --production=false",
    "--production=true",
    "yarn install --frozen-lockfile --non-interactive --production=true --ignore-scripts --prefer-offline",
    CacheMount("yarn", "/root/.cache/yarn", "locked"),
)
BERRY = Manager(
    "yarn",
    "Yarn (2 and newer)",
    ("yarn.lock",),
    (".yarnrc.yml", ".npmrc"),
    "@yarnpkg/cli-dist",
    "4",
    "yarn install --immutable",
    "yarn install --no-immutable",
    "",
    "yarn workspaces focus --production --all",
    CacheMount("yarn-berry", "/root/.yarn/berry"),
)
PNPM = Manager(
    "pnpm",
    "pnpm",
    ("pnpm-lock.yaml",),
    (".npmrc", "pnpm-workspace.yaml", ".pnpmfile.cjs"),
    "pnpm",
    "10",
    "pnpm install --frozen-lockfile --prod=false",
    "pnpm install --no-frozen-lockfile --prod=false",
    "--prod",
    "pnpm prune --prod --ignore-scripts",
    CacheMount("pnpm", "/root/.pnpm-store"),
)
BUN = Manager(
    "bun",
    "Bun",
    ("bun.lock", "bun.lockb"),
    ("bunfig.toml", ".npmrc"),
    "bun",
    "1",
    "bun install --frozen-lockfile",
    "bun install",
    "--production",
    "rm -rf node_modules && bun install --production --frozen-lockfile --ignore-scripts",
    CacheMount("bun", "/root/.bun/install/cache"),
)
MANAGERS = (NPM, YARN, PNPM, BUN)


@dataclass(frozen=True)
class Tooling:
    """The manager of an app: its version, the lock that is there, and whether it runs without node_modules (PnP)."""

    manager: Manager
    version: str
    lock: str | None
    pick: Pick
    notes: tuple[Note, ...] = ()
    pnp: bool = False
    vendored: bool = False
    """Whether the tree brings the manager itself (`.yarn/releases`)."""

    @property
    def build_environment(self) -> dict[str, str]:
        """What the manager's commands need to be told in the build."""
        if self.manager.name == "pnpm":
            # Without a terminal pnpm asks before it removes modules, unless it is told that nobody can answer.
            return {"CI": "1", "npm_config_store_dir": "/root/.pnpm-store", **self.environment}
        return self.environment

    @property
    def environment(self) -> dict[str, str]:
        """What the manager's commands need to be told in the build and in the image."""
        if self.manager.name == "pnpm":
            return {"npm_config_manage_package_manager_versions": "false"}
        if self.manager.package != BERRY.package:
            return {}
        # With PnP the packages are run from where they lie, so they must be in the app's folder.
        shared = {} if self.pnp else {"YARN_GLOBAL_FOLDER": "/root/.yarn/berry"}
        local = {"YARN_ENABLE_GLOBAL_CACHE": "false"} if self.pnp else {}
        return {"YARN_ENABLE_TELEMETRY": "0", **shared, **local}

    @property
    def caches(self) -> tuple[CacheMount, ...]:
        """The folder kept between builds."""
        return () if self.pnp else (self.manager.cache,)

    def install(self, *, development: bool) -> str:
        """The command that installs."""
        command = self.manager.locked if self.lock else self.manager.loose
        if development or not self.manager.production:
            return command
        if "--include=dev" in command:
            return command.replace("--include=dev", self.manager.production)
        left_out = re.sub(r"--(?:prod|production)=false", self.manager.production, command)
        return left_out if left_out != command else f"{command} {self.manager.production}"

    def prune(self, *, workspace: bool) -> str | None:
        """The command that drops development dependencies; None where the version has none."""
        if workspace and self.manager is PNPM:
            # `pnpm prune` looks at one package only.
            return f"{self.install(development=False)} --ignore-scripts"
        if self.manager.package == BERRY.package and not self.version.startswith(("4", "5", "6")):
            return None
        return self.manager.prune_command


def choose_manager(source: Source, manifest: Manifest) -> Tooling:
    """Find the package manager and its version.

    Raises:
        PlanError: `node/multiple-lockfiles`, `node/unknown-package-manager`, `node/invalid-lockfile`…
    """
    manager, asked, place = _decide(source, manifest)
    lock = next((name for name in manager.locks if source.has(name)), None)
    notes: tuple[Note, ...] = ()
    if lock is None and manifest.installed:
        notes = (
            note(
                "node/no-lockfile",
                lock=manager.locks[-1] if manager is NPM else manager.locks[0],
                manager=manager.name,
            ),
        )
    if lock in LOCKS:
        check_lock(source, manifest, str(lock))
    if manager is YARN:
        return _yarn(source, asked, place, lock, notes)
    version = _version(source, manager, asked)
    shown = f"{manager.name} {version}".strip()
    return Tooling(manager, version, lock, Pick("package-manager", asked or None, shown, place), notes)


def _yarn(source: Source, asked: str, place: Evidence, lock: str | None, notes: tuple[Note, ...]) -> Tooling:
    settings = source.text(".yarnrc.yml")
    text = (source.text("yarn.lock") or "")[:400]
    berry = (
        settings is not None
        or "__metadata:" in text
        or (asked[:1].isdigit() and not asked.startswith(("0", "1")))
    )
    if not berry:
        version = asked if _VERSION.fullmatch(asked) else YARN.default
        return Tooling(
            YARN, version, lock, Pick("package-manager", asked or None, f"yarn {version}", place), notes
        )
    vendored = _YARN_PATH.search(settings or "")
    in_tree = vendored is not None and source.exists(vendored[1])
    linker = _LINKER.search(settings or "")
    version = (
        asked if _VERSION.fullmatch(asked) else _release(vendored[1] if vendored else "") or BERRY.default
    )
    pick = Pick("package-manager", asked or None, f"yarn {version}", place)
    pnp = linker is None or linker[1] == "pnp"
    return Tooling(BERRY, version, lock, pick, notes, pnp, in_tree)


def _release(path: str) -> str:
    match = re.search(r"yarn-(\d+\.\d+\.\d+)", path)
    return match[1] if match else ""


def _version(source: Source, manager: Manager, asked: str) -> str:
    """A version or a range that npm understands; made of digits, dots, `x`, `^`, `~` and `-` only."""
    if _VERSION.fullmatch(asked) or _RANGE.fullmatch(asked):
        return asked
    if manager is PNPM:
        match = _PNPM_LOCK.search(source.text("pnpm-lock.yaml", 64 << 20) or "")
        return _PNPM_BY_LOCK.get(match[1] if match else "", PNPM.default)
    return manager.default


def _decide(source: Source, manifest: Manifest) -> tuple[Manager, str, Evidence]:
    by_name = {manager.name: manager for manager in MANAGERS}
    chosen = source.settings.package_manager
    if chosen in by_name:
        asked = manifest.engine(str(chosen)) or ""
        return by_name[str(chosen)], asked, source.settings.origin("build.package-manager")
    declared = _declared(manifest)
    if declared is not None:
        name, version, place = declared
        if name not in by_name:
            raise refuse(
                "node/unknown-package-manager",
                place,
                manager=name,
                place=place.place,
                known=", ".join(by_name),
            )
        return by_name[name], version, place
    return _by_files(source, manifest)


def _declared(manifest: Manifest) -> tuple[str, str, Evidence] | None:
    """What package.json says outright."""
    if manifest.package_manager is not None:
        return (*manifest.package_manager, manifest.place("packageManager"))
    name = manifest.document.text_at("devEngines", "packageManager", "name")
    if name is None:
        return None
    version = manifest.document.text_at("devEngines", "packageManager", "version") or ""
    return name, version, manifest.place("devEngines")


def _by_files(source: Source, manifest: Manifest) -> tuple[Manager, str, Evidence]:
    found = [(manager, name) for manager in MANAGERS for name in manager.locks if source.has(name)]
    if len({manager.name for manager, _ in found}) > 1:
        names = [name for _, name in found]
        evidence = [Evidence("lock", name) for name in names]
        listed = Block(listing(f"{name} ({manager.title})" for manager, name in found))
        raise refuse("node/multiple-lockfiles", *evidence, files=listed)
    engines = [manager for manager in MANAGERS[1:] if manifest.engine(manager.name)]
    if found:
        manager, name = found[0]
        return manager, manifest.engine(manager.name) or "", Evidence("lock", name)
    if len(engines) > 1:
        places = [manifest.place(manager.name) for manager in engines]
        listed = Block(listing(f"engines.{manager.name}" for manager in engines))
        raise refuse("node/multiple-package-managers", *places, files=listed)
    if engines:
        manager = engines[0]
        return manager, manifest.engine(manager.name) or "", manifest.place(manager.name)
    if source.has(".yarnrc.yml"):
        return YARN, "", Evidence("file", ".yarnrc.yml")
    npm = manifest.engine("npm")
    return NPM, npm or "", manifest.place("npm") if npm else Evidence("default", NAME)
