""".NET: what makes a .NET app. The SDK is fetched from Microsoft, so the server must reach it; the image needs none of it,
since the app is published with its runtime inside.
"""

import re

from buildpacks.documents import read_json
from buildpacks.messages import Block, listing, refuse
from buildpacks.plan import CacheMount, Candidate, Copy, Evidence, Pick, Plan, Run, Step, SystemPackage
from buildpacks.procfile import shell_process
from buildpacks.providers.base import APP, BASE_PATH, Source

SDK_SCRIPT = "https://dot.net/v1/dotnet-install.sh"
"""Microsoft's script that fetches an SDK."""

DEFAULT = "8.0"
_PROJECTS = ("*.csproj", "*.fsproj", "*.vbproj")
_FRAMEWORK = re.compile(r"<TargetFrameworks?>[^<]*?net(\d+)\.(\d+)")
_WEB = 'Sdk="Microsoft.NET.Sdk.Web"'
_SAFE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_VERSION = re.compile(r"(\d{1,2})\.(\d{1,2})(?:\.\d+)*\S*")
_ARCHITECTURES = {"amd64": "linux-x64", "arm64": "linux-arm64"}


class Dotnet:
    """A project file of C#, F# or Visual Basic, in the root or one folder below a solution."""

    name = "dotnet"
    looks_for = (*_PROJECTS, "*.sln", "global.json")

    def detect(self, source: Source) -> Candidate | None:
        """A project or a solution in the root."""
        found = [path for pattern in (*_PROJECTS, "*.sln") for path in source.tree.files(pattern)]
        return Candidate(self.name, 18, (Evidence("file", found[0]),)) if found else None

    def plan(self, source: Source) -> Plan:
        """Publish the one project that can run, with its runtime."""
        project = _project(source)
        version, place = _version(source, project)
        program = project.rpartition("/")[2].rpartition(".")[0]
        machine = source.settings.stack.architecture
        sdk = Step(
            "sdk",
            "build",
            (
                Run(
                    f"curl -fsSL {SDK_SCRIPT} -o /tmp/install.sh && bash /tmp/install.sh --channel {version} --install-dir /opt/dotnet && rm /tmp/install.sh"
                ),
            ),
            {"PATH": f"/opt/dotnet:{BASE_PATH}", "DOTNET_CLI_TELEMETRY_OPTOUT": "1", "DOTNET_NOLOGO": "1"},
        )
        publish = f"dotnet publish {project} --configuration Release --runtime {_ARCHITECTURES.get(machine, 'linux-x64')} --self-contained --output /publish"
        build = Step(
            "build",
            "sdk",
            (Copy((".",), APP), Run(publish, (CacheMount("nuget", "/root/.nuget/packages"),), secrets=True)),
        )
        return Plan(
            provider=self.name,
            suite=source.settings.stack.suite,
            picks=(Pick("dotnet", version, version, place),),
            steps=(sdk, build, Step("image", "run", (Copy(("/publish",), APP, stage="build", owned=True),))),
            processes=(
                (
                    shell_process(
                        "web",
                        f"ASPNETCORE_URLS=http://0.0.0.0:$PORT ./{program}",
                        Evidence("project", project),
                    ),
                )
                if source.wants_web
                else ()
            ),
            environment={"DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1"},
            run_packages=(
                SystemPackage("libstdc++6", Evidence("runtime")),
                SystemPackage("libssl3", Evidence("runtime")),
            ),
            ignored=("bin", "obj"),
        )


def _project(source: Source) -> str:
    """The project that runs: the only one, or the only one for the web.

    Raises:
        PlanError: `dotnet/no-project`, `dotnet/several-projects`.
    """
    found = [path for pattern in _PROJECTS for path in source.tree.files(pattern)]
    found += [path for pattern in _PROJECTS for path in source.tree.files(f"**/{pattern}") if "/" in path]
    found = [path for path in dict.fromkeys(found) if _SAFE.fullmatch(path) and "test" not in path.lower()]
    web = [path for path in found if _WEB in (source.text(path) or "")]
    chosen = web if len(web) == 1 else found
    if not chosen:
        raise refuse("dotnet/no-project", Evidence("project"))
    if len(chosen) > 1:
        raise refuse(
            "dotnet/several-projects",
            *(Evidence("project", path) for path in chosen[:20]),
            projects=Block(listing(chosen)),
        )
    return chosen[0]


def _version(source: Source, project: str) -> tuple[str, Evidence]:
    """The settings, global.json, or the framework that the project targets."""
    stated = (
        (source.settings.versions.get("dotnet"), source.settings.origin("versions.dotnet")),
        (
            read_json(source, "global.json", comments=True).text_at("sdk", "version"),
            Evidence("sdk", "global.json"),
        ),
    )
    for text, place in stated:
        if text is not None:
            match = _VERSION.fullmatch(text)
            if match is None:
                raise refuse("version/invalid", place, text=text, place=place.place)
            return f"{match[1]}.{match[2]}", place
    content = source.text(project) or ""
    match = _FRAMEWORK.search(content)
    if match is None:
        return DEFAULT, Evidence("default")
    return f"{match[1]}.{match[2]}", Evidence(
        "TargetFramework", project, content.count("\n", 0, match.start()) + 1
    )
