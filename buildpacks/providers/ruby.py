"""Ruby: what makes a Ruby app, where its gems come from, how it is started. The runtime is Debian's.

Gems are installed by Bundler into `/opt/bundle`; with `gems = "debian"` in `cygni.toml` they are Debian packages
that the app lists, and Bundler only checks that they fit.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from buildpacks.messages import note, refuse
from buildpacks.plan import (
    CacheMount,
    Candidate,
    Copy,
    Evidence,
    Note,
    Plan,
    PlanError,
    Process,
    Run,
    Step,
    SystemPackage,
)
from buildpacks.procfile import shell_process
from buildpacks.providers.assets import Assets, find_assets
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.runtimes import Request, pick_runtime
from buildpacks.system_packages import packages_for
from buildpacks.versions import VersionError, parse_npm, parse_pep440

_BUNDLE = "/opt/bundle"
_GEM = re.compile(r"""^\s*gem[\s(]+["']([A-Za-z0-9_.-]+)["']""", re.MULTILINE)
_LOCKED = re.compile(r"^    ([A-Za-z0-9_.-]+) \(", re.MULTILINE)
_RUBY = re.compile(r"""^\s*ruby[\s(]+((?:["'][^"'\n]+["'](?:\s*,\s*)?)+)""", re.MULTILINE)
_LOCK_RUBY = re.compile(r"^RUBY VERSION\n\s+ruby (\d+\.\d+\.\d+)", re.MULTILINE)
_PATH_GEM = re.compile(r"""^\s*(?:gem\b.*\bpath:|path\s|gemspec\b)""", re.MULTILINE)
_VERSION = re.compile(r"(?:ruby-)?(\d+)\.(\d+)(?:\.(\d+))?\S*")
_RUBY_COMMAND = re.compile(
    r"(?:^|[\s/;&|])(?:bundle|rails|rake|ruby|puma|rackup|unicorn|thin|falcon)(?:\s|$)"
)
_SCRIPTS = ("app.rb", "main.rb", "server.rb")
_CACHE = CacheMount("gems", "/root/.bundle/cache")


@dataclass(frozen=True)
class Gems:
    """Gemfile and Gemfile.lock."""

    source: Source

    @property
    def manifest(self) -> str:
        """What the manifest is called."""
        return "Gemfile" if self.source.has("Gemfile") else "gems.rb"

    @property
    def lock(self) -> str:
        """What the lock is called."""
        return "Gemfile.lock" if self.manifest == "Gemfile" else "gems.locked"

    @cached_property
    def text(self) -> str:
        """The manifest."""
        return self.source.text(self.manifest) or ""

    @cached_property
    def locked(self) -> str | None:
        """The lock; None when there is none."""
        return self.source.text(self.lock)

    @cached_property
    def names(self) -> Mapping[str, Evidence]:
        """Every gem that is installed, with its place."""
        found: dict[str, Evidence] = {}
        for pattern, path, text in (
            (_GEM, self.manifest, self.text),
            (_LOCKED, self.lock, self.locked or ""),
        ):
            for match in pattern.finditer(text):
                line = text.count("\n", 0, match.start(1)) + 1
                found.setdefault(match[1], Evidence("gem", path, line))
        return found

    @property
    def local(self) -> Evidence | None:
        """The first line that needs more of the tree than the manifests."""
        match = _PATH_GEM.search(self.text)
        return Evidence("path", self.manifest, self.text.count("\n", 0, match.start()) + 1) if match else None

    @property
    def is_rails(self) -> bool:
        """Whether it is a Rails app."""
        return ("railties" in self.names or "rails" in self.names) and self.source.exists(
            "config/application.rb"
        )


class Ruby:
    """A Gemfile."""

    name = "ruby"
    looks_for = ("Gemfile", "gems.rb")

    def detect(self, source: Source) -> Candidate | None:
        """A Gemfile; package.json beside it is for assets. One that starts nothing may only bring Node.js's tools."""
        found = [Evidence("file", name) for name in self.looks_for if source.has(name)]
        if not found:
            return None
        return Candidate(self.name, 12 if _can_start(source) else 35, tuple(found[:1]))

    def plan(self, source: Source) -> Plan:
        """Install gems from the manifests alone, precompile assets, put both into the image."""
        gems = Gems(source)
        runtime = pick_runtime(source, "ruby", _request(gems))
        process, notes = _web(gems)
        assets = find_assets(source)
        system = packages_for("ruby", gems.names)
        tools = _tools(gems)
        return Plan(
            provider=self.name,
            suite=runtime.stack.suite,
            picks=(runtime.pick, *assets.picks),
            steps=_steps(gems, assets),
            processes=(process,) if process else (),
            environment=_environment(gems),
            notes=(*runtime.notes, *_lock_notes(gems), *notes, *assets.notes),
            build_packages=(*tools, *_named(gems, "ruby-dev"), *system.build),
            run_packages=(*tools, *system.run),
            ignored=assets.ignored,
        )


def _can_start(source: Source) -> bool:
    try:
        if not source.wants_web:
            web = source.procfile.web if source.procfile else None
            return web is None or bool(_RUBY_COMMAND.search(web.command)) or not source.has("package.json")
    except PlanError:
        return True
    return any(source.has(name) for name in ("config.ru", *_SCRIPTS)) or source.exists(
        "config/application.rb"
    )


def _named(gems: Gems, *names: str) -> tuple[SystemPackage, ...]:
    return tuple(SystemPackage(name, Evidence("runtime", gems.manifest)) for name in names)


def _tools(gems: Gems) -> tuple[SystemPackage, ...]:
    """Ruby and Bundler; a JavaScript runtime where a gem calls one and no package.json brings it."""
    scripts = "execjs" in gems.names and not gems.source.has("package.json")
    return _named(gems, "ruby", "bundler", *(("nodejs",) if scripts else ()))


def _request(gems: Gems) -> Request | None:
    """What the settings, Gemfile.lock, .ruby-version, .tool-versions and the Gemfile ask for, in this order."""
    source = gems.source
    lock = _LOCK_RUBY.search(gems.locked or "")
    if "ruby" in source.settings.versions:
        return _exact(source.settings.versions["ruby"], source.settings.origin("versions.ruby"))
    if lock:
        return _exact(lock[1], Evidence("RUBY VERSION", gems.lock))
    file = (source.text(".ruby-version") or "").strip()
    if file:
        return _exact(file, Evidence("version", ".ruby-version", 1))
    for number, line in enumerate((source.text(".tool-versions") or "").split("\n"), start=1):
        words = line.split()
        if words[:1] == ["ruby"] and len(words) > 1:
            return _exact(words[1], Evidence("version", ".tool-versions", number))
    stated = _RUBY.search(gems.text)
    return None if stated is None else _stated(gems, stated)


def _stated(gems: Gems, match: re.Match[str]) -> Request:
    place = Evidence("ruby", gems.manifest, gems.text.count("\n", 0, match.start(1)) + 1)
    parts = re.findall(r"""["']([^"']+)["']""", match[1])
    if len(parts) == 1 and _VERSION.fullmatch(parts[0]):
        return _exact(parts[0], place)
    text = ",".join(parts).replace("~>", "~=")
    try:
        return Request(", ".join(parts), parse_pep440(text), place)
    except VersionError:
        raise refuse("version/invalid", place, text=", ".join(parts), place=place.place) from None


def _exact(text: str, place: Evidence) -> Request:
    """A version; Debian patches its releases, so any of the same line will do."""
    match = _VERSION.fullmatch(text)
    if match is None:
        raise refuse("version/invalid", place, text=text, place=place.place)
    return Request(text, parse_npm(f"{match[1]}.{match[2]}"), place)


def _lock_notes(gems: Gems) -> tuple[Note, ...]:
    if gems.locked is None and _GEM.search(gems.text):
        return (note("ruby/no-lock", lock=gems.lock),)
    return ()


def _web(gems: Gems) -> tuple[Process | None, tuple[Note, ...]]:
    source = gems.source
    if not source.wants_web:
        return None, ()
    if gems.is_rails:
        notes = (note("ruby/secret-key"),) if "SECRET_KEY_BASE" not in source.env_names else ()
        place = Evidence("rails", "config/application.rb")
        return shell_process("web", "bundle exec rails server -b 0.0.0.0 -p $PORT", place), notes
    if source.has("config.ru"):
        return shell_process("web", _rack(gems), Evidence("rack", "config.ru")), ()
    script = next((name for name in _SCRIPTS if source.has(name)), None)
    if script is None:
        raise refuse("ruby/no-start", Evidence("start", gems.manifest))
    options = " -o 0.0.0.0 -p $PORT" if "sinatra" in gems.names else ""
    return shell_process("web", f"bundle exec ruby {script}{options}", Evidence("script", script)), ()


def _rack(gems: Gems) -> str:
    """The server that is among the gems, else the one that Rack brings."""
    servers = (
        ("puma", "bundle exec puma -b tcp://0.0.0.0:$PORT config.ru"),
        ("unicorn", "bundle exec unicorn -o 0.0.0.0 -p $PORT config.ru"),
        ("thin", "bundle exec thin start -R config.ru -a 0.0.0.0 -p $PORT"),
        ("falcon", "bundle exec falcon serve -b http://0.0.0.0:$PORT"),
    )
    found = (command for name, command in servers if name in gems.names)
    return next(found, "bundle exec rackup -o 0.0.0.0 -p $PORT config.ru")


def _environment(gems: Gems) -> dict[str, str]:
    bundler = {"BUNDLE_WITHOUT": "development:test", "BUNDLE_APP_CONFIG": "/opt/bundle-config"}
    if gems.source.settings.gems == "debian":
        bundler["BUNDLE_PATH__SYSTEM"] = "true"
    else:
        bundler["BUNDLE_PATH"] = _BUNDLE
        bundler.update({"BUNDLE_DEPLOYMENT": "1"} if gems.locked is not None else {})
    return {
        "PATH": f"{APP}/bin:{BASE_PATH}",
        "RACK_ENV": "production",
        "RAILS_ENV": "production",
        "RAILS_LOG_TO_STDOUT": "enabled",
        "RAILS_SERVE_STATIC_FILES": "enabled",
        # glibc's arenas otherwise grow with every thread of a long-lived Ruby.
        "MALLOC_ARENA_MAX": "2",
        **bundler,
    }


def _steps(gems: Gems, assets: Assets) -> tuple[Step, ...]:
    source, debian = gems.source, gems.source.settings.gems == "debian"
    environment = _environment(gems)
    names = [name for name in (gems.manifest, gems.lock, ".ruby-version") if source.has(name)]
    manifests = Copy((".",), APP) if gems.local else Copy(tuple(names), f"{APP}/")
    steps = [*assets.steps]
    if not debian:
        tokens = any(name.startswith("BUNDLE_") for name in source.env_names)
        install = Run(f"bundle install --jobs 4 && mkdir -p {_BUNDLE}", (_CACHE,), secrets=tokens)
        steps.append(
            Step("deps", "build", (manifests, install), {**environment, "BUNDLE_GLOBAL_GEM_CACHE": "true"})
        )
    commands = _commands(gems)
    # Debian's gems are in the run stage alone: what is compiled there must see them.
    base = "run" if debian else "deps"
    copies = [] if debian else [Copy((_BUNDLE,), _BUNDLE, stage="deps")]
    # Without a lock Bundler writes one; it belongs to the app then.
    if commands or (not debian and gems.locked is None):
        lock = (
            [Copy((f"{APP}/{gems.lock}",), f"{APP}/", stage="deps")]
            if not debian and gems.locked is None
            else []
        )
        lock = lock if _GEM.search(gems.text) else []
        steps.append(Step("build", base, (assets.source(), *lock, *commands), environment))
        return (*steps, Step("image", "run", (*copies, Copy((APP,), APP, stage="build", owned=True))))
    return (*steps, Step("image", "run", (*copies, assets.source(owned=True))))


def _commands(gems: Gems) -> list[Run]:
    source = gems.source
    commands = [Run("bundle install --local")] if source.settings.gems == "debian" else []
    if source.settings.build_command:
        return [*commands, Run(source.settings.build_command, secrets=True, foreign=True)]
    compiled = source.tree.files("public/assets/*manifest*.json")
    pipeline = any(name in gems.names for name in ("sprockets-rails", "propshaft", "sprockets"))
    if gems.is_rails and pipeline and source.tree.files("app/assets/**") and not compiled:
        commands.append(
            Run(
                "SECRET_KEY_BASE_DUMMY=1 SECRET_KEY_BASE=${SECRET_KEY_BASE:-build} bundle exec rails assets:precompile",
                secrets=True,
            )
        )
    return commands
