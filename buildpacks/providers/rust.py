"""Rust: what makes a Rust app, and which programs come out. Cargo and the compiler are Debian's."""

import re
from dataclasses import dataclass

from buildpacks.documents import Document, read_toml
from buildpacks.messages import Block, listing, note, refuse
from buildpacks.plan import CacheMount, Candidate, Copy, Evidence, Plan, Process, Run, Step, SystemPackage
from buildpacks.procfile import shell_process
from buildpacks.providers.assets import find_assets
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.runtimes import Request, pick_runtime
from buildpacks.system_packages import packages_for
from buildpacks.versions import Interval, Range, VersionError, parse_npm

_MANIFEST, _LOCK = "Cargo.toml", "Cargo.lock"
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
_WEB_NAMES = ("web", "server", "api", "app")
_CACHES = (CacheMount("cargo", "/root/.cargo/registry"), CacheMount("cargo-target", "/cygni-target"))


@dataclass(frozen=True)
class _Program:
    name: str
    source: Evidence


class Rust:
    """Cargo.toml."""

    name = "rust"
    looks_for = (_MANIFEST,)

    def detect(self, source: Source) -> Candidate | None:
        """Cargo.toml; a Python package with a part in Rust is Python when it says how it starts."""
        return Candidate(self.name, 22, (Evidence("file", _MANIFEST),)) if source.has(_MANIFEST) else None

    def plan(self, source: Source) -> Plan:
        """Build every program for release; only they and the source go into the image."""
        document = read_toml(source, _MANIFEST)
        runtime = pick_runtime(source, "rust", _request(source, document))
        programs = _programs(source, document)
        process = _web(source, programs)
        assets = find_assets(source)
        system = packages_for("rust", {name: document.place(name) for name in document.table("dependencies")})
        return Plan(
            provider=self.name,
            suite=runtime.stack.suite,
            picks=(runtime.pick, *assets.picks),
            steps=(
                *assets.steps,
                _build(source, programs),
                Step(
                    "image",
                    "run",
                    (assets.source(owned=True), Copy((f"{APP}/bin",), f"{APP}/bin", "build", owned=True)),
                ),
            ),
            processes=(process,) if process else (),
            environment={"PATH": f"{APP}/bin:{BASE_PATH}"},
            notes=(*runtime.notes, *(() if source.has(_LOCK) else (note("rust/no-lock"),)), *assets.notes),
            build_packages=(*_named("cargo", "rustc"), *system.build),
            run_packages=system.run,
            ignored=("target", *assets.ignored),
        )


def _named(*names: str) -> tuple[SystemPackage, ...]:
    return tuple(SystemPackage(name, Evidence("runtime", _MANIFEST)) for name in names)


def _request(source: Source, document: Document) -> Request | None:
    """The settings or rust-toolchain name a line; `rust-version` is the oldest that will do."""
    setting = source.settings.versions.get("rust")
    if setting is not None:
        return _line(setting, source.settings.origin("versions.rust"))
    channel = read_toml(source, "rust-toolchain.toml").text_at("toolchain", "channel")
    channel = channel or (source.text("rust-toolchain") or "").strip() or None
    if channel is not None and channel[:1].isdigit():
        name = "rust-toolchain.toml" if source.has("rust-toolchain.toml") else "rust-toolchain"
        return _line(channel, Evidence("channel", name))
    oldest = document.text_at("package", "rust-version")
    if oldest is None:
        return None
    request = _line(oldest, document.place("rust-version"))
    low = request.allowed.intervals[0].low
    return Request(oldest, Range((Interval(low),)), request.source)


def _line(text: str, place: Evidence) -> Request:
    try:
        return Request(text, parse_npm(".".join(text.split(".")[:2])), place)
    except VersionError:
        raise refuse("version/invalid", place, text=text, place=place.place) from None


def _programs(source: Source, document: Document) -> tuple[_Program, ...]:
    """Programs of the package, or of a workspace's members."""
    found = list(_of_package(source, document, ""))
    for pattern in document.texts("workspace", "members"):
        if not re.fullmatch(r"[A-Za-z0-9_.*/-]+", pattern):
            continue
        for path in source.tree.files(f"{pattern.strip('/')}/{_MANIFEST}"):
            found += _of_package(source, read_toml(source, path), path.removesuffix(_MANIFEST))
    names = {program.name: program for program in reversed(found) if _NAME.fullmatch(program.name)}
    if not names:
        raise refuse("rust/no-program", Evidence("main.rs", _MANIFEST))
    return tuple(names[name] for name in sorted(names))


def _of_package(source: Source, document: Document, folder: str) -> list[_Program]:
    name = document.text_at("package", "name")
    tables = document.data.get("bin")
    stated = (
        [item.get("name") for item in tables if isinstance(item, dict)] if isinstance(tables, list) else []
    )
    found = [
        _Program(str(given), document.place("[[bin]]", "bin")) for given in stated if isinstance(given, str)
    ]
    if not found and name and source.exists(f"{folder}src/main.rs"):
        found.append(_Program(name, Evidence("main.rs", f"{folder}src/main.rs")))
    found += [
        _Program(path.rpartition("/")[2].removesuffix(".rs"), Evidence("bin", path))
        for path in source.tree.files(f"{folder}src/bin/*.rs")
    ]
    return found


def _web(source: Source, programs: tuple[_Program, ...]) -> Process | None:
    if not source.wants_web:
        return None
    by_name = {program.name: program for program in programs}
    chosen = programs[0] if len(programs) == 1 else None
    chosen = chosen or next((by_name[name] for name in _WEB_NAMES if name in by_name), None)
    if chosen is None:
        listed = Block(listing(f"bin/{program.name}" for program in programs))
        raise refuse("rust/several-programs", programs=listed, first=programs[0].name)
    return shell_process("web", f"bin/{chosen.name}", chosen.source)


def _build(source: Source, programs: tuple[_Program, ...]) -> Step:
    locked = " --locked" if source.has(_LOCK) else ""
    names = " ".join(f"/cygni-target/release/{program.name}" for program in programs)
    command = f"cargo build --release --workspace{locked} --target-dir /cygni-target && mkdir -p bin && cp {names} bin/"
    return Step("build", "build", (Copy((".",), APP), Run(command, _CACHES, secrets=_private(source))))


def _private(source: Source) -> bool:
    return any(name.startswith(("CARGO_", "RUST")) for name in source.env_names)
