"""The vocabulary of a build, as data: what was seen, what was chosen, what will be done, or why nothing can be."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

SCHEMA = 1
"""Version of `Plan` and of `explain`'s JSON."""

FailureClass = Literal["user", "platform", "external"]


@dataclass(frozen=True)
class Evidence:
    """Why something was decided: a rule, and the file and line (from 1) it rests on."""

    rule: str
    path: str | None = None
    line: int | None = None
    detail: str = ""

    @property
    def place(self) -> str:
        """`path:line`, as much of it as is known; the rule without a path."""
        if self.path is None:
            return self.rule
        return self.path if self.line is None else f"{self.path}:{self.line}"


@dataclass(frozen=True)
class Candidate:
    """A provider that could build the tree; the lowest rank wins. `assets`: it helps another one."""

    provider: str
    rank: int
    evidence: tuple[Evidence, ...]
    role: Literal["primary", "assets"] = "primary"


@dataclass(frozen=True)
class Pick:
    """A version or tool that was chosen, and the places that asked for something else."""

    name: str
    requested: str | None
    resolved: str
    source: Evidence
    others: tuple[Evidence, ...] = ()


@dataclass(frozen=True)
class Process:
    """A process type. `argv` is for exec; empty means the image's own command."""

    type: str
    command: str
    argv: tuple[str, ...]
    source: Evidence


@dataclass(frozen=True)
class SystemPackage:
    """A Debian package and who asks for it."""

    name: str
    source: Evidence


@dataclass(frozen=True)
class CacheMount:
    """A folder kept between builds of one app."""

    purpose: str
    target: str
    sharing: Literal["shared", "locked"] = "shared"


@dataclass(frozen=True)
class Copy:
    """Files into a stage: from the source, or from another stage. `owned`: by the user that apps run as."""

    sources: tuple[str, ...]
    target: str
    stage: str | None = None
    owned: bool = False


@dataclass(frozen=True)
class Run:
    """A shell line of ours, or the app's own (`foreign`). `secrets`: it sees the app's config."""

    command: str
    caches: tuple[CacheMount, ...] = ()
    secrets: bool = False
    foreign: bool = False


@dataclass(frozen=True)
class Step:
    """A stage of the build. `base` is `build` or `run` (the stack's images) or an earlier step; the last is the image."""

    name: str
    base: str
    actions: tuple[Copy | Run, ...]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class PortRule:
    """Where the web process listens: on `$PORT`, or (own Dockerfile) on the first TCP port it exposes."""

    exposed: int | None = None


@dataclass(frozen=True)
class Note:
    """Something worth telling that stops nothing."""

    level: Literal["info", "warning"]
    id: str
    text: str


@dataclass(frozen=True)
class Setting:
    """A setting that is not the default, as text."""

    name: str
    value: str
    source: Evidence


@dataclass(frozen=True)
class Plan:
    """How a tree becomes an image and what runs in it. Holds names of config variables at most, never values."""

    provider: str
    steps: tuple[Step, ...]
    processes: tuple[Process, ...]
    release: Process | None = None
    picks: tuple[Pick, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    """Of the image."""
    port: PortRule = PortRule()
    notes: tuple[Note, ...] = ()
    dockerfile: str | None = None
    """The text of the app's own Dockerfile, checked; `steps` is empty then."""
    context_files: Mapping[str, bytes] = field(default_factory=dict)
    """Files of ours that the build's context needs besides the tree."""
    ignored: tuple[str, ...] = ()
    """Patterns of the tree that stay out of the context."""
    suite: str = "bookworm"
    """The Debian suite whose stack it builds and runs on."""
    build_packages: tuple[SystemPackage, ...] = ()
    """Debian packages that the stages from `build` get first."""
    run_packages: tuple[SystemPackage, ...] = ()
    """Debian packages that the stages from `run` get first, the image among them."""
    root: str = ""
    """The folder of the tree that is the build's context; empty for all of it."""
    folder: str = "/app"
    """Where processes start in the image."""
    target: str | None = None
    """The stage of an own Dockerfile that is built; None for the last."""
    build_args: Mapping[str, str] = field(default_factory=dict)
    """Arguments of an own Dockerfile."""
    settings: tuple[Setting, ...] = ()
    """What was set about the build, and where."""
    schema: int = SCHEMA

    @property
    def web(self) -> Process | None:
        """The process that receives requests."""
        return next((process for process in self.processes if process.type == "web"), None)


@dataclass(frozen=True)
class Failure:
    """Why there is no plan or no image. `title` and `body` are for the person who pushed; `retry`: trying again can help."""

    id: str
    cls: FailureClass
    title: str
    body: str
    evidence: tuple[Evidence, ...] = ()
    retry: bool = False

    @property
    def lines(self) -> tuple[str, ...]:
        """Title and body, line by line."""
        return (self.title, *self.body.splitlines())


class PlanError(Exception):
    """Carries a `Failure` out of a provider; `planner.plan` returns it."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.title)
        self.failure = failure


@dataclass(frozen=True)
class Stack:
    """What the base images hold: a Debian suite, its Python, and the machine's architecture in Docker's words."""

    suite: str = "bookworm"
    python: str = "3.11.2"
    architecture: str = "amd64"

    @property
    def python_line(self) -> str:
        """Major and minor version of its Python."""
        return ".".join(self.python.split(".")[:2])


STACKS = (Stack(), Stack("trixie", "3.13.5"))
"""The stacks there are; the first is for apps that ask for nothing else."""


@dataclass(frozen=True)
class BuildSettings:
    """What the owner of an app has set about its build: on the server, or in files of the repository.

    `origins` says where each came from, by its name in `cygni.toml`; what is missing there was set on the server.
    """

    provider: str | None = None
    package_manager: str | None = None
    root: str = ""
    context: str | None = None
    """`.`: the whole tree is built from, and `root` is a member of its workspace."""
    dockerfile: str = "Dockerfile"
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    procfile: str = "Procfile"
    build_command: str | None = None
    assets: bool = True
    """Whether a package.json beside another language is built, too."""
    gems: str = "rubygems"
    """Where Ruby's gems come from: `rubygems`, or `debian` for packages of the stack's suite."""
    versions: Mapping[str, str] = field(default_factory=dict)
    build_packages: tuple[str, ...] = ()
    run_packages: tuple[str, ...] = ()
    processes: Mapping[str, str] = field(default_factory=dict)
    stacks: tuple[Stack, ...] = STACKS
    origins: Mapping[str, Evidence] = field(default_factory=dict)

    @property
    def member(self) -> str:
        """The folder of a workspace's member that is the app; empty when the context is."""
        return self.root if self.context is not None else ""

    @property
    def stack(self) -> Stack:
        """The default stack."""
        return self.stacks[0]

    def origin(self, name: str) -> Evidence:
        """Where a setting came from."""
        return self.origins.get(name, Evidence("setting"))


@dataclass(frozen=True)
class Catalog:
    """What rendering must know about the engine and the app.

    `cache_prefix` is the app's unguessable token: cache ids start with it. `secrets`: config is given to the build
    as the secret `app-env`, and its keyed hash as the build argument `CYGNI_SECRETS_HASH`. For an own Dockerfile
    the secret has the id `own_secret_id`, which must change with app and values. Stacks are images named
    `{stacks}{suite}:build` and `{stacks}{suite}:run`.
    """

    cache_prefix: str
    stacks: str = "cygni-stack/debian-"
    secrets: bool = False
    own_secret_id: str = "app-env"  # noqa: S105 - a name
