"""package.json and npm's lockfile, read as data that may be anything."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from buildpacks.messages import refuse
from buildpacks.plan import Evidence
from buildpacks.providers.base import Source

NAME = "package.json"
LOCKS = ("package-lock.json", "npm-shrinkwrap.json")
_LOCK_BYTES = 64 << 20
_LIFECYCLE = ("preinstall", "install", "postinstall", "preprepare", "prepare", "postprepare", "prepublish")
_LOCAL_SPEC = re.compile(r"(?:file|link|portal|workspace):|\.{0,2}/|~/")


@dataclass(frozen=True)
class Manifest:
    """package.json. Every access checks the type, since the file may hold any JSON."""

    data: Mapping[str, object]
    text: str

    @cached_property
    def scripts(self) -> Mapping[str, str]:
        """Scripts by name."""
        return _strings(self.data.get("scripts"))

    @cached_property
    def dependencies(self) -> Mapping[str, str]:
        """What is installed to run and to build."""
        return {**_strings(self.data.get("dependencies")), **_strings(self.data.get("devDependencies"))}

    @property
    def installed(self) -> bool:
        """Whether there is anything to install."""
        return bool(self.dependencies or _strings(self.data.get("optionalDependencies")))

    @property
    def engine(self) -> str | None:
        """`engines.node`."""
        return _strings(self.data.get("engines")).get("node")

    @property
    def main(self) -> str | None:
        """`main`."""
        value = self.data.get("main")
        return value if isinstance(value, str) else None

    @property
    def package_manager(self) -> str | None:
        """The name in `packageManager`, without its version."""
        value = self.data.get("packageManager")
        return value.partition("@")[0] if isinstance(value, str) else None

    @property
    def needs_tree(self) -> str | None:
        """Why installing needs more than the manifests; None when it does not."""
        lifecycle = next((name for name in _LIFECYCLE if self.scripts.get(name)), None)
        if lifecycle:
            return f"a {lifecycle} script"
        if self.data.get("workspaces"):
            return "workspaces"
        local = next((name for name, spec in self.dependencies.items() if _LOCAL_SPEC.match(spec)), None)
        return f"a local dependency ({local})" if local else None

    def place(self, word: str) -> Evidence:
        """Where a key is in the file."""
        lines = self.text.split("\n")
        number = next((number for number, line in enumerate(lines, start=1) if f'"{word}"' in line), None)
        return Evidence(word, NAME, number)


def read_manifest(source: Source) -> Manifest:
    """Read package.json.

    Raises:
        PlanError: it is no JSON object.
    """
    text = source.text(NAME) or ""
    try:
        data = _object(text)
    except ValueError as error:
        raise refuse("node/invalid-package-json", Evidence("json", NAME), detail=str(error)) from None
    return Manifest(data, text)


def check_lock(source: Source, manifest: Manifest, path: str) -> None:
    """Refuse a lockfile that `npm ci` would: one that lacks a package that package.json asks for.

    Raises:
        PlanError: `node/invalid-lockfile`, `node/lockfile-out-of-sync`.
    """
    try:
        lock = _object(source.text(path, _LOCK_BYTES) or "")
    except ValueError as error:
        raise refuse("node/invalid-lockfile", Evidence("json", path), detail=str(error), path=path) from None
    packages, old = lock.get("packages"), lock.get("dependencies")
    known = packages if isinstance(packages, dict) else {}
    legacy = old if isinstance(old, dict) else {}
    missing = [
        name for name in manifest.dependencies if f"node_modules/{name}" not in known and name not in legacy
    ]
    if missing:
        names = ", ".join(missing[:5]) + (" …" if missing[5:] else "")
        raise refuse("node/lockfile-out-of-sync", Evidence("lock", path), path=path, names=names)


def _object(text: str) -> Mapping[str, object]:
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"Line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("It is nested too deeply") from None
    if not isinstance(data, dict):
        raise ValueError("It must hold an object, {…}")  # noqa: TRY004
    return data


def _strings(value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        return {}
    return {name: entry for name, entry in value.items() if isinstance(entry, str)}
