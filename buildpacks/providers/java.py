"""Java: what makes a Java app, built by Maven or Gradle into one jar. The JDK is Debian's, and so is Maven without a wrapper."""

import re

from buildpacks.messages import refuse
from buildpacks.plan import CacheMount, Candidate, Copy, Evidence, Plan, Run, Step, SystemPackage
from buildpacks.procfile import shell_process
from buildpacks.providers.assets import find_assets
from buildpacks.providers.base import APP, BASE_PATH, Source
from buildpacks.runtimes import Request, pick_runtime
from buildpacks.versions import Interval, Range, major

_GRADLE = ("build.gradle", "build.gradle.kts", "settings.gradle", "settings.gradle.kts")
_MAVEN_VERSION = re.compile(
    r"<(?:java\.version|maven\.compiler\.(?:release|target|source)|release)>\s*(?:1\.)?(\d+)\s*<"
)
_GRADLE_VERSION = re.compile(
    r"(?:JavaLanguageVersion\.of\(|JavaVersion\.VERSION_|sourceCompatibility\s*=\s*['\"]?)(?:1[._])?(\d+)"
)
_PROPERTIES = re.compile(r"^java\.runtime\.version\s*=\s*(?:1\.)?(\d+)", re.MULTILINE)
_JAR = f"{APP}/.cygni-app.jar"
_LINES = (8, 11, 17, 21, 25)


class Java:
    """pom.xml, or a Gradle build."""

    name = "java"
    looks_for = ("pom.xml", *_GRADLE)

    def detect(self, source: Source) -> Candidate | None:
        """The build's file."""
        found = next((name for name in self.looks_for if source.has(name)), None)
        return Candidate(self.name, 16, (Evidence("file", found),)) if found else None

    def plan(self, source: Source) -> Plan:
        """Build with the app's wrapper, or Debian's Maven; run the one jar that has a main class."""
        runtime = pick_runtime(source, "java", _request(source))
        assets = find_assets(source)
        line = runtime.pick.resolved
        maven = source.has("pom.xml")
        tools = [f"openjdk-{line}-jdk-headless"]
        if maven and not source.has("mvnw"):
            tools.append("maven")
        return Plan(
            provider=self.name,
            suite=runtime.stack.suite,
            picks=(runtime.pick, *assets.picks),
            steps=(*assets.steps, _build(source, assets.source()), _image()),
            processes=(
                (
                    shell_process(
                        "web",
                        f"java -Dserver.port=$PORT $JAVA_OPTS -jar {_JAR}",
                        Evidence("jar", _found(source)),
                    ),
                )
                if source.wants_web
                else ()
            ),
            environment={"PATH": BASE_PATH, "JAVA_TOOL_OPTIONS": "-XX:MaxRAMPercentage=75.0"},
            notes=(*runtime.notes, *assets.notes),
            build_packages=_named(*tools),
            run_packages=_named(f"openjdk-{line}-jre-headless"),
            ignored=("target", "build", *assets.ignored),
        )


def _named(*names: str) -> tuple[SystemPackage, ...]:
    return tuple(SystemPackage(name, Evidence("runtime")) for name in names)


def _found(source: Source) -> str:
    return next(name for name in Java.looks_for if source.has(name))


def _request(source: Source) -> Request | None:
    """What the settings, system.properties or the build's file ask for: a version that compiles for it."""
    setting = source.settings.versions.get("java")
    texts: list[tuple[str | None, str, re.Pattern[str]]] = (
        [(setting, "versions.java", re.compile(r"^(?:1\.)?(\d+)"))] if setting else []
    )
    texts += [(source.text("system.properties"), "system.properties", _PROPERTIES)]
    texts += [(source.text("pom.xml"), "pom.xml", _MAVEN_VERSION)]
    texts += [(source.text(name), name, _GRADLE_VERSION) for name in _GRADLE[:2]]
    for text, path, pattern in texts:
        match = pattern.search(text or "")
        if match is None or text is None:
            continue
        line = text.count("\n", 0, match.start(1)) + 1
        exact = path == "system.properties" or path.startswith("versions.")
        place = source.settings.origin(path) if path.startswith("versions.") else Evidence("java", path, line)
        return _at_least(int(match[1]), place, exact=exact)
    return None


def _at_least(number: int, place: Evidence, *, exact: bool) -> Request:
    """A newer JDK compiles for an older release; system.properties means one line and no other."""
    allowed = major(number) if exact else Range((Interval((number, 0, 0)),))
    return Request(str(number), allowed, place)


def _build(source: Source, copied: Copy) -> Step:
    caches = (CacheMount("maven", "/root/.m2"), CacheMount("gradle", "/root/.gradle"))
    if source.has("pom.xml"):
        program = "sh ./mvnw" if source.has("mvnw") else "mvn"
        command, folder, cache = (
            f"{program} --batch-mode --no-transfer-progress -DskipTests package",
            "target",
            caches[0],
        )
    elif source.has("gradlew"):
        task = "stage" if "stage" in _gradle_tasks(source) else "build"
        command, folder, cache = f"sh ./gradlew --no-daemon {task} -x test", "build/libs", caches[1]
    else:
        raise refuse("java/no-wrapper", Evidence("file", _found(source)))
    if source.settings.build_command:
        built = Run(source.settings.build_command, (cache,), secrets=True, foreign=True)
    else:
        built = Run(command, (cache,), secrets=True)
    # Spring and shaded builds leave the whole app in one jar; sources, docs and the jar before shading are not it.
    pick = (
        f"jar=$(ls -S {folder}/*.jar target/quarkus-app/quarkus-run.jar 2>/dev/null"
        f' | grep -v -e sources -e javadoc -e plain -e original -e tests | head -n 1) && cp "$jar" {_JAR}'
    )
    return Step("build", "build", (copied, built, Run(pick)))


def _gradle_tasks(source: Source) -> str:
    return (source.text("build.gradle") or "") + (source.text("build.gradle.kts") or "")


def _image() -> Step:
    return Step("image", "run", (Copy((APP,), APP, stage="build", owned=True),))
