"""package.json and npm's lockfile, read as data that may be anything."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from buildpacks.documents import Document, read_json
from buildpacks.messages import refuse
from buildpacks.plan import Evidence
from buildpacks.providers.base import Source

NAME = "package.json"
LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
_LIFECYCLE = (
    "heroku-prebuild",
    "preinstall",
    "install",
    "postinstall",
    "preprepare",
    "prepare",
    "postprepare",
    "prepublish",
)
_LOCAL_SPEC = re.compile(r"(?:file|link|portal):|\.{0,2}/|~/")
_MEMBER = re.compile(
    r"(?:\./)?[A-Za-z0-9_@][A-Za-z0-9_@.-]*(?:/(?:\*{1,2}|[A-Za-z0-9_@][A-Za-z0-9_@.-]*))*/?"
)
_MEMBER_LIMIT = 200


@dataclass(frozen=True)
class Manifest:
    """package.json. Every access checks the type, since the file may hold any JSON."""

    document: Document

    @cached_property
    def scripts(self) -> Mapping[str, str]:
        """Scripts by name."""
        return self.document.strings("scripts")

    @cached_property
    def dependencies(self) -> Mapping[str, str]:
        """What is installed to run and to build."""
        return {**self.document.strings("dependencies"), **self.document.strings("devDependencies")}

    @property
    def installed(self) -> bool:
        """Whether there is anything to install."""
        found = self.dependencies or self.document.strings("optionalDependencies")
        return bool(found or self.document.data.get("workspaces"))

    def engine(self, name: str) -> str | None:
        """`engines.NAME`."""
        return self.document.text_at("engines", name)

    @property
    def main(self) -> str | None:
        """`main`."""
        return self.document.text_at("main")

    @property
    def package_manager(self) -> tuple[str, str] | None:
        """Name and version in `packageManager`; the version may be empty."""
        value = self.document.text_at("packageManager")
        if value is None:
            return None
        name, _, version = value.partition("@")
        return name, version.partition("+")[0]

    @property
    def workspaces(self) -> tuple[str, ...]:
        """Globs of the workspace's members."""
        return self.document.texts("workspaces") or self.document.texts("workspaces", "packages")

    @property
    def needs_tree(self) -> str | None:
        """Why installing needs more than the manifests; None when it does not."""
        lifecycle = next((name for name in _LIFECYCLE if self.scripts.get(name)), None)
        if lifecycle:
            return f"a {lifecycle} script"
        local = next((name for name, spec in self.dependencies.items() if _LOCAL_SPEC.match(spec)), None)
        return f"a local dependency ({local})" if local else None

    def place(self, word: str) -> Evidence:
        """Where a key is in the file."""
        lines = enumerate(self.document.text.split("\n"), start=1)
        number = next((number for number, line in lines if f'"{word}"' in line), None)
        return Evidence(word, self.document.path, number)


def read_manifest(source: Source) -> Manifest:
    """Read package.json.

    Raises:
        PlanError: it is no JSON object.
    """
    return Manifest(read_json(source, NAME, "node/invalid-package-json"))


def members(source: Source, patterns: tuple[str, ...]) -> tuple[str, ...] | None:
    """Folders of a workspace's members; None when they can't be told from the patterns."""
    found: set[str] = set()
    excluded: set[str] = set()
    for pattern in patterns:
        plain = pattern.removeprefix("!")
        if not _MEMBER.fullmatch(plain):
            return None
        paths = source.tree.files(f"{plain.removeprefix('./').rstrip('/')}/{NAME}")
        folders = {path.removesuffix(f"/{NAME}") for path in paths if "node_modules/" not in path}
        (excluded if pattern.startswith("!") else found).update(folders)
    kept = sorted(found - excluded)
    return tuple(kept) if len(kept) <= _MEMBER_LIMIT else None


def check_lock(source: Source, manifest: Manifest, path: str) -> None:
    """Refuse a lockfile that `npm ci` would: one that lacks a package that package.json asks for.

    Raises:
        PlanError: `node/invalid-lockfile`, `node/lockfile-out-of-sync`.
    """
    lock = read_json(source, path, "node/invalid-lockfile")
    known, legacy = lock.table("packages"), lock.table("dependencies")
    missing = [
        name for name in manifest.dependencies if f"node_modules/{name}" not in known and name not in legacy
    ]
    if missing:
        names = ", ".join(missing[:5]) + (" …" if missing[5:] else "")
        raise refuse("node/lockfile-out-of-sync", Evidence("lock", path), path=path, names=names)


def versions_in_tool_files(source: Source, tool: str) -> Iterator[tuple[str, Evidence]]:
    """What `.tool-versions` says about a tool."""
    for number, line in enumerate((source.text(".tool-versions") or "").split("\n"), start=1):
        words = line.partition("#")[0].split()
        if len(words) > 1 and words[0] == tool:
            yield words[1], Evidence("version", ".tool-versions", number, words[1])
