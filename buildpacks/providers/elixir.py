"""Elixir: what makes an Elixir app, and the release that Mix makes of it. Elixir and Erlang are Debian's."""

import re

from buildpacks.messages import note, refuse
from buildpacks.plan import CacheMount, Candidate, Copy, Evidence, Plan, Run, Step, SystemPackage
from buildpacks.procfile import shell_process
from buildpacks.providers.assets import find_assets
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.runtimes import Request, pick_runtime
from buildpacks.versions import VersionError, parse_npm

_MANIFEST, _LOCK = "mix.exs", "mix.lock"
_APP = re.compile(r"\bapp:\s*:([a-z][a-z0-9_]*)")
_ELIXIR = re.compile(r"""\belixir:\s*["']([^"']+)["']""")
_CACHES = (CacheMount("hex", "/root/.hex"), CacheMount("mix", "/root/.mix"))


class Elixir:
    """mix.exs."""

    name = "elixir"
    looks_for = (_MANIFEST,)

    def detect(self, source: Source) -> Candidate | None:
        """mix.exs; package.json beside it is for assets."""
        return Candidate(self.name, 15, (Evidence("file", _MANIFEST),)) if source.has(_MANIFEST) else None

    def plan(self, source: Source) -> Plan:
        """Fetch what mix.lock says, deploy assets, make a release; the release alone goes into the image."""
        text = source.text(_MANIFEST) or ""
        runtime = pick_runtime(source, "elixir", _request(source, text))
        match = _APP.search(text)
        if match is None:
            raise refuse("elixir/no-app", Evidence("app", _MANIFEST))
        assets = find_assets(source)
        phoenix = "{:phoenix," in text.replace(" ", "")
        place = Evidence("app", _MANIFEST, text.count("\n", 0, match.start()) + 1)
        return Plan(
            provider=self.name,
            suite=runtime.stack.suite,
            picks=(runtime.pick, *assets.picks),
            steps=(*_steps(source, text, assets.source()), *assets.steps, _image(match[1])),
            processes=(shell_process("web", f"bin/{match[1]} start", place),) if source.wants_web else (),
            environment={
                "PATH": f"{APP}/bin:{BASE_PATH}",
                "MIX_ENV": "prod",
                "LANG": "C.UTF-8",
                "PHX_SERVER": "true",
            },
            notes=(*runtime.notes, *assets.notes, *((note("elixir/phoenix"),) if phoenix else ())),
            build_packages=_named("elixir", "erlang-dev", "erlang-parsetools", "erlang-xmerl"),
            ignored=("_build", "deps", *assets.ignored),
        )


def _named(*names: str) -> tuple[SystemPackage, ...]:
    return tuple(SystemPackage(name, Evidence("runtime", _MANIFEST)) for name in names)


def _request(source: Source, text: str) -> Request | None:
    """The settings, or what mix.exs allows."""
    setting = source.settings.versions.get("elixir")
    match = _ELIXIR.search(text)
    if setting is None and match is None:
        return None
    asked = setting or (match[1] if match else "")
    line = text.count("\n", 0, match.start()) + 1 if match else None
    place = source.settings.origin("versions.elixir") if setting else Evidence("elixir", _MANIFEST, line)
    # Elixir's `~> 1.14` allows every 1.x from there on, as npm's caret does.
    translated = re.sub(r"~>\s*(\d+\.\d+)(?!\.)", r"^\1", asked).replace(" or ", " || ").replace(" and ", " ")
    try:
        return Request(asked, parse_npm(translated), place)
    except VersionError:
        raise refuse("version/invalid", place, text=asked, place=place.place) from None


def _steps(source: Source, text: str, copied: Copy) -> tuple[Step, ...]:
    environment = {
        "MIX_ENV": "prod",
        "LANG": "C.UTF-8",
        "HEX_CACERTS_PATH": "/etc/ssl/certs/ca-certificates.crt",
    }
    fetches = source.has(_LOCK)
    steps = []
    if fetches:
        names = tuple(name for name in (_MANIFEST, _LOCK) if source.has(name))
        config = [Copy(("config",), f"{APP}/config")] if source.tree.files("config/*.exs") else []
        fetch = "mix local.hex --force --if-missing && mix local.rebar --force --if-missing && mix deps.get --only prod && mix deps.compile"
        steps.append(
            Step("deps", "build", (Copy(names, f"{APP}/"), *config, Run(fetch, _CACHES)), environment)
        )
    deploys = "assets.deploy" in text
    lines = [
        "mix compile",
        *(["mix assets.deploy"] if deploys else []),
        "mix release --overwrite --path /release",
    ]
    commands = [Run(" && ".join(lines), _CACHES if fetches else (), secrets=True)]
    steps.append(Step("build", "deps" if fetches else "build", (copied, *commands), environment))
    return tuple(steps)


def _image(name: str) -> Step:
    del name
    return Step("image", "run", (Copy(("/release",), APP, stage="build", owned=True),))
