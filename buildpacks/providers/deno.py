"""Deno: what makes a Deno app. The runtime is a package of npm's registry, so any version of it can be had on any stack."""

import re

from buildpacks.documents import Document, read_json
from buildpacks.messages import note, refuse
from buildpacks.plan import Candidate, Copy, Evidence, Note, Pick, Plan, Process, Run, Step
from buildpacks.procfile import shell_process
from buildpacks.providers.base import APP, BASE_PATH, Source

_FILES = ("deno.json", "deno.jsonc")
_ENTRIES = ("main.ts", "server.ts", "mod.ts", "index.ts", "main.js", "server.js", "main.tsx")
_ARCHITECTURES = {"amd64": "x64", "arm64": "arm64"}
_VERSION = re.compile(r"v?(\d{1,3}(?:\.\d{1,4}){0,2})")
_ENVIRONMENT = {
    "PATH": f"/opt/deno/bin:{BASE_PATH}",
    "DENO_DIR": "/opt/deno-dir",
    "DENO_NO_UPDATE_CHECK": "1",
    # The system trusts what the server trusts; Deno alone would trust its own list.
    "DENO_TLS_CA_STORE": "system",
}
DEFAULT = "2"


class Deno:
    """deno.json."""

    name = "deno"
    looks_for = (*_FILES, "deno.lock")

    def detect(self, source: Source) -> Candidate | None:
        """Deno's configuration or its lock."""
        found = next((name for name in self.looks_for if source.has(name)), None)
        return Candidate(self.name, 25, (Evidence("file", found),)) if found else None

    def plan(self, source: Source) -> Plan:
        """Fetch what the entry imports, then run it."""
        document = _configuration(source)
        version, pick, notes = _version(source)
        process = _web(source, document)
        entry = next((name for name in _ENTRIES if source.has(name)), None)
        fetch = f"deno install --entrypoint {entry}" if entry else "deno install"
        commands = [Run(f"{fetch} && mkdir -p /opt/deno-dir")]
        if source.settings.build_command:
            commands.append(Run(source.settings.build_command, secrets=True, foreign=True))
        elif "build" in document.table("tasks"):
            commands.append(Run("deno task build", secrets=True))
        return Plan(
            provider=self.name,
            suite=source.settings.stack.suite,
            picks=(pick,),
            steps=(
                _runtime(source, version),
                Step("build", "deno", (Copy((".",), APP), *commands)),
                Step(
                    "image",
                    "run",
                    (
                        Copy(("/opt/deno/bin",), "/opt/deno/bin", stage="deno"),
                        Copy(("/opt/deno-dir",), "/opt/deno-dir", stage="build", owned=True),
                        Copy((APP,), APP, stage="build", owned=True),
                    ),
                ),
            ),
            processes=(process,) if process else (),
            environment=_ENVIRONMENT,
            notes=notes,
        )


def _configuration(source: Source) -> Document:
    path = next((name for name in _FILES if source.has(name)), _FILES[0])
    return read_json(source, path, comments=True)


def _version(source: Source) -> tuple[str, Pick, tuple[Note, ...]]:
    """The settings, .dvmrc or .tool-versions."""
    places = [(source.settings.versions.get("deno"), source.settings.origin("versions.deno"))]
    places.append(((source.text(".dvmrc") or "").strip() or None, Evidence("version", ".dvmrc", 1)))
    for number, line in enumerate((source.text(".tool-versions") or "").split("\n"), start=1):
        words = line.split()
        if words[:1] == ["deno"] and len(words) > 1:
            places.append((words[1], Evidence("version", ".tool-versions", number)))
    for text, place in places:
        if text is not None:
            match = _VERSION.fullmatch(text)
            if match is None:
                raise refuse("version/invalid", place, text=text, place=place.place)
            return match[1], Pick("deno", text, match[1], place), ()
    told = note("version/default", language="Deno", version=f"{DEFAULT}.x")
    return DEFAULT, Pick("deno", None, f"{DEFAULT}.x", Evidence("default")), (told,)


def _web(source: Source, document: Document) -> Process | None:
    if not source.wants_web:
        return None
    if isinstance(document.table("tasks").get("start"), str | dict):
        return shell_process("web", "deno task start", document.place('"start"', "tasks.start"))
    entry = next((name for name in _ENTRIES if source.has(name)), None)
    if entry is None:
        raise refuse("deno/no-start", Evidence("start", document.path))
    text = source.text(entry) or ""
    verb = (
        "deno serve --host 0.0.0.0 --port $PORT"
        if re.search(r"^export default\b", text, re.MULTILINE)
        else "deno run"
    )
    return shell_process("web", f"{verb} --allow-all {entry}", Evidence("file", entry))


def _runtime(source: Source, version: str) -> Step:
    """The program alone, out of the package for this machine."""
    machine = _ARCHITECTURES.get(source.settings.stack.architecture, source.settings.stack.architecture)
    package = f"@deno/linux-{machine}-glibc"
    quiet = "--no-save --ignore-scripts --loglevel error --no-audit --no-fund --no-update-notifier"
    commands = (
        f"npm install --prefix /tmp/deno --cache /tmp/npm {quiet} '{package}@{version}'",
        "mkdir -p /opt/deno/bin",
        f"install -m 755 /tmp/deno/node_modules/{package}/deno /opt/deno/bin/deno",
        "rm -rf /tmp/deno /tmp/npm",
        "/opt/deno/bin/deno --version",
    )
    return Step("deno", "build", (Run(" && ".join(commands)),), _ENVIRONMENT)
