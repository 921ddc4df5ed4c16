"""An app's own Dockerfile: what it may name, and how it is made safe to build beside other apps.

The target is the frontend inside Docker 20.10's BuildKit: no `# syntax=` image is fetched, and what that frontend lacks
is named with its line. Two apps must not read each other through the builder: images of this server and images by id
are refused wherever a Dockerfile can name one, and cache ids are put under the app's own token.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from buildpacks.dockerfile_images import EXAMPLE, builder_variables, is_foreign, is_reference, set_by_builder
from buildpacks.dockerfile_mounts import Mount, MountError, parse_mount
from buildpacks.dockerfile_syntax import Instruction, Parsed, nested, parse
from buildpacks.dockerfile_words import UnclearWordError, expand, split_words
from buildpacks.messages import note, refuse
from buildpacks.plan import Note, PlanError

_INDEX = re.compile(r"\d{1,3}")
_STAGE = re.compile(r"[a-z][a-z0-9-_.]*")
_EXPOSE = re.compile(r"(\d{1,5})(?:-\d{1,5})?(?:/(\w+))?")
_HEREDOC = re.compile(r"(?:^|\s)\d*<<-?[^<\s]")
SECRET = "app-env"  # noqa: S105 - a name
"""The secret with the app's config, as Dockerfiles know it: lines `export NAME='value'`, at /run/secrets/app-env."""

_KNOWN = frozenset(
    {"ADD", "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "MAINTAINER"}
    | {"ONBUILD", "RUN", "SHELL", "STOPSIGNAL", "USER", "VOLUME", "WORKDIR"}
)
_FLAGS = {
    "FROM": frozenset({"platform"}),
    "RUN": frozenset({"mount"}),
    "COPY": frozenset({"from", "chown", "chmod"}),
    "ADD": frozenset({"chown", "chmod"}),
    "HEALTHCHECK": frozenset({"interval", "timeout", "start-period", "retries"}),
}
_HEREDOC_ADVICE = (
    "Write it as one shell line with `&&` and `\\` at line ends, or as a script of the repository."
)
_FLAG_ADVICE = "Leave the flag out."


@dataclass(frozen=True)
class CheckedDockerfile:
    """What is known of an own Dockerfile that may be built. `exposed`: the first TCP port of its last stage."""

    exposed: int | None
    notes: tuple[Note, ...]


def check(
    text: str,
    path: str = "Dockerfile",
    env_names: frozenset[str] = frozenset(),
    architecture: str = "amd64",
    build_args: Mapping[str, str] | None = None,
) -> CheckedDockerfile:
    """Check an own Dockerfile, as it is built with these arguments.

    Raises:
        PlanError: it cannot be parsed, uses what the engine lacks, or names what the app may not read.
    """
    parsed = parse(text, path)
    for name in build_args or ():
        # Some arguments mean something to the builder itself: one of them replaces the frontend by any image.
        if set_by_builder(name) or name.upper().startswith(("BUILDKIT_", "CYGNI_")):
            raise refuse("dockerfile/reserved-argument", parsed.evidence(1), name=name)
    stages = _Checker(parsed, architecture, build_args or {}).run()
    exposed = _exposed(stages)
    notes = [
        note("dockerfile/syntax-dropped", path=path, line=directive.line, text=directive.text)
        for directive in parsed.directives
        if directive.name == "syntax"
    ]
    notes += _config_notes(parsed, env_names)
    return CheckedDockerfile(
        exposed, tuple(notes if exposed else [*notes, note("dockerfile/no-port", path=path)])
    )


def rewrite(text: str, cache_prefix: str, secret_id: str = SECRET) -> str:
    """The Dockerfile to build: directives for other frontends gone, every cache id under the app's prefix.

    A step's mounts are part of what the engine's cache knows it by, and a secret's value is not: so the secret gets
    the id `secret_id`, or a step's result would be used again for other values, and for other apps. Line numbers stay what they were. `text` was accepted by `check`.
    """
    parsed = parse(text)
    lines = list(parsed.lines)
    for instruction in parsed.instructions:
        changed = _with_own_mounts(instruction, cache_prefix, secret_id)
        if changed is not None:
            lines[instruction.line - 1 : instruction.last] = [changed] + [""] * (
                instruction.last - instruction.line
            )
    if parsed.escape != "\\":
        # The directive was one of the blanked lines at the top, so the first line is free.
        lines[0] = f"# escape={parsed.escape}"
    return "\n".join(lines).rstrip("\n") + "\n"


def _with_own_mounts(instruction: Instruction, prefix: str, secret_id: str) -> str | None:
    """A RUN with caches or the app's secret on one line, the ids changed; None for any other instruction."""
    inner, lead = instruction, ""
    if instruction.keyword == "ONBUILD":
        inner, lead = nested(instruction, ""), "ONBUILD "
    if inner.keyword != "RUN":
        return None
    mounts = [
        (flag, parse_mount(flag.removeprefix("--mount=")))
        for flag in inner.flags
        if flag.startswith("--mount=")
    ]
    owned = {flag: mount.with_cache_id(prefix).flag for flag, mount in mounts if mount.kind == "cache"}
    secrets = [(flag, mount) for flag, mount in mounts if mount.kind == "secret" and secret_id != SECRET]
    for flag, mount in secrets:
        renamed = mount.with_secret_id(SECRET, secret_id)
        if renamed is not mount:
            owned[flag] = renamed.flag
    if not owned:
        return None
    flags = tuple(owned.get(flag, flag) for flag in inner.flags)
    return lead + Instruction(inner.line, inner.last, "RUN", flags, inner.arguments).text


@dataclass
class _Stage:
    """One FROM with what follows."""

    name: str | None
    parent: "_Stage | None"
    ports: list[int]


class _Checker:
    """Walks the instructions once, with the variables and stages known so far."""

    def __init__(self, parsed: Parsed, architecture: str, arguments: Mapping[str, str]) -> None:
        self._parsed = parsed
        self._given = arguments
        self._stages: list[_Stage] = []
        self._variables = builder_variables(architecture)
        self._declared: set[str] = set()
        self._names = {
            name for item in parsed.instructions if item.keyword == "FROM" for name in _alias(item)
        }
        self._names = {
            name for item in parsed.instructions if item.keyword == "FROM" for name in _alias(item)
        }

    def run(self) -> list[_Stage]:
        for instruction in self._parsed.instructions:
            self._check(instruction)
        if not self._stages:
            path = self._parsed.path
            raise refuse("dockerfile/empty", self._parsed.evidence(1), path=path)
        return self._stages

    def _check(self, instruction: Instruction) -> None:
        keyword = instruction.keyword
        if keyword not in _KNOWN:
            raise self._parsed.refuse(instruction, f"{keyword} is no instruction", "dockerfile/syntax")
        if not self._stages and keyword not in {"FROM", "ARG"}:
            raise self._parsed.refuse(
                instruction, "only ARG may stand before the first FROM", "dockerfile/syntax"
            )
        self._check_features(instruction)
        if keyword == "ONBUILD":
            self._check_nested(instruction)
        elif keyword == "ARG" and not self._stages:
            self._take_arguments(instruction)
        elif keyword == "FROM":
            self._take_stage(instruction)
        elif keyword in {"COPY", "RUN"}:
            self._check_sources(instruction)
        elif keyword == "EXPOSE":
            self._stages[-1].ports += _ports(instruction)

    def _check_nested(self, instruction: Instruction) -> None:
        inner = nested(instruction, self._parsed.path)
        if inner.keyword not in _KNOWN - {"ONBUILD", "FROM", "MAINTAINER"}:
            raise self._parsed.refuse(
                instruction, f"ONBUILD cannot carry {inner.keyword}", "dockerfile/syntax"
            )
        self._check_features(inner)
        if inner.keyword in {"COPY", "RUN"}:
            self._check_sources(inner)

    def _check_features(self, instruction: Instruction) -> None:
        """Name what the engine's frontend does not have."""
        keyword = instruction.keyword
        for flag in instruction.flags:
            name = flag.removeprefix("--").partition("=")[0]
            if name not in _FLAGS.get(keyword, frozenset()):
                raise self._unsupported(instruction, f"{keyword} --{name}", _FLAG_ADVICE)
        if keyword in {"RUN", "COPY", "ADD"} and _HEREDOC.search(instruction.text):
            raise self._unsupported(instruction, "a here-document (<<)", _HEREDOC_ADVICE)
        if keyword == "RUN":
            for mount in self._mounts(instruction):
                if mount.kind == "secret" and "env" in mount.fields:
                    advice = (
                        "Mount it as a file: `--mount=type=secret,id=app-env`, then `. /run/secrets/app-env`."
                    )
                    raise self._unsupported(instruction, "a secret as a variable (env=)", advice)

    def _unsupported(self, instruction: Instruction, feature: str, advice: str) -> PlanError:
        parsed, line = self._parsed, instruction.line
        place = parsed.evidence(line)
        facts = {"path": parsed.path, "text": instruction.text, "feature": feature, "advice": advice}
        return refuse("dockerfile/unsupported", place, line=line, **facts)

    def _take_arguments(self, instruction: Instruction) -> None:
        try:
            words = split_words(instruction.arguments)
        except UnclearWordError as error:
            raise self._parsed.refuse(instruction, str(error)) from None
        for word in words:
            name, _, value = word.partition("=")
            if set_by_builder(name):
                self._variables.setdefault(name, None)
            elif name in self._declared:
                # Versions differ on what a second ARG of one name does.
                self._variables[name] = None
            else:
                given = self._given.get(name)
                self._variables[name] = self._argument(value) if given is None else given
            self._declared.add(name)

    def _argument(self, value: str) -> str | None:
        """A default; one that cannot be followed only matters when an image's name uses it."""
        try:
            return expand(value, self._variables, self._parsed.escape)
        except UnclearWordError:
            return None

    def _take_stage(self, instruction: Instruction) -> None:
        words = instruction.arguments.split()
        named = len(words) == 3 and words[1].lower() == "as"
        if not named and len(words) != 1:
            raise self._parsed.refuse(
                instruction, "FROM needs an image, and AS with a name at most", "dockerfile/syntax"
            )
        base = self._expanded(instruction, words[0])
        parent = next((stage for stage in self._stages if stage.name == base.lower()), None)
        if parent is None and base != "scratch":
            self._check_image(instruction, base)
        self._stages.append(_Stage(next(iter(_alias(instruction)), None), parent, []))

    def _check_sources(self, instruction: Instruction) -> None:
        """What COPY --from and RUN --mount=from= name: a stage, or an image that may be read."""
        named = [flag.partition("=")[2] for flag in instruction.flags if flag.startswith("--from")]
        if instruction.keyword == "RUN":
            named += [mount.image for mount in self._mounts(instruction) if mount.image]
        for name in named:
            if "$" in name:
                raise self._parsed.refuse(instruction, "a variable names an image")
            # A stage's name is one wherever it stands in the file; one that looks like an image's id is refused.
            if is_foreign(name) or not (name.lower() in self._names or _INDEX.fullmatch(name)):
                self._check_image(instruction, name)

    def _mounts(self, instruction: Instruction) -> Iterator[Mount]:
        for flag in instruction.flags:
            try:
                yield parse_mount(flag.removeprefix("--mount="))
            except MountError as error:
                raise self._parsed.refuse(instruction, str(error)) from None

    def _expanded(self, instruction: Instruction, word: str) -> str:
        try:
            return expand(word, self._variables, self._parsed.escape)
        except UnclearWordError as error:
            raise self._parsed.refuse(instruction, str(error)) from None

    def _check_image(self, instruction: Instruction, image: str) -> None:
        if not (is_reference(image) or is_foreign(image)):
            raise self._parsed.refuse(instruction, f"{image!r} is no image's name", "dockerfile/syntax")
        if is_foreign(image):
            parsed, line = self._parsed, instruction.line
            facts = {"path": parsed.path, "image": image, "example": EXAMPLE}
            raise refuse("dockerfile/foreign-image", parsed.evidence(line), line=line, **facts)


def _alias(instruction: Instruction) -> Iterator[str]:
    words = instruction.arguments.split()
    if len(words) == 3 and words[1].lower() == "as" and _STAGE.fullmatch(words[2].lower()):
        yield words[2].lower()


def _ports(instruction: Instruction) -> Iterable[int]:
    for word in instruction.arguments.split():
        match = _EXPOSE.fullmatch(word)
        if match and (match[2] or "tcp").lower() == "tcp" and 0 < int(match[1]) < 65536:
            yield int(match[1])


def _exposed(stages: list[_Stage]) -> int | None:
    """The first TCP port of the last stage, or of those it is built from."""
    stage: _Stage | None = stages[-1]
    while stage is not None:
        if stage.ports:
            return stage.ports[0]
        stage = stage.parent
    return None


def _config_notes(parsed: Parsed, env_names: frozenset[str]) -> Iterator[Note]:
    for instruction in parsed.instructions:
        for word in instruction.arguments.split() if instruction.keyword == "ARG" else ():
            name = word.partition("=")[0]
            if name in env_names:
                yield note("dockerfile/config-arg", path=parsed.path, line=instruction.line, name=name)
