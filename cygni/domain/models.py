"""The platform's nouns. Frozen values; the store returns these, never live rows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a person may do with an app, each including the ones before it."""

    VIEWER = "viewer"
    DEPLOYER = "deployer"
    ADMIN = "admin"
    OWNER = "owner"

    @property
    def rank(self) -> int:
        """Higher may do more."""
        return list(Role).index(self)


class BuildStatus(StrEnum):
    """Where a build is. The last five are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    INTERRUPTED = "interrupted"

    @property
    def final(self) -> bool:
        """Whether nothing will change it any more."""
        return self not in {BuildStatus.QUEUED, BuildStatus.RUNNING}


class ReleaseStatus(StrEnum):
    """Where a release is. At most one of an app is `LIVE`."""

    PENDING = "pending"
    LIVE = "live"
    RETIRED = "retired"
    FAILED = "failed"


class Lane(StrEnum):
    """What an app may do one of at a time."""

    BUILD = "build"
    DEPLOY = "deploy"


class JobStatus(StrEnum):
    """Where a job is. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing will change it any more."""
        return self not in {JobStatus.QUEUED, JobStatus.RUNNING}


@dataclass(frozen=True)
class User:
    """A person or a machine that owns keys."""

    id: str
    name: str
    admin: bool


@dataclass(frozen=True)
class Certificate:
    """A certificate chain and its key as PEM, with the hosts that the first one is for."""

    name: str
    hosts: tuple[str, ...]
    chain: str
    key: str = field(repr=False)
    expires_at: datetime


@dataclass(frozen=True)
class Key:
    """A public SSH key. `fingerprint` is OpenSSH's `SHA256:…` form, unique on the server."""

    id: str
    user_id: str
    name: str
    fingerprint: str
    public: str
    created_at: datetime
    last_used_at: datetime | None = None


@dataclass(frozen=True)
class HealthSettings:
    """An app's health check; seconds."""

    path: str | None = None
    boot_timeout: float = 60.0
    probe_timeout: float = 5.0
    """How long one look may take."""


@dataclass(frozen=True)
class App:
    """An app. `token` is unguessable and joins image names and cache ids; never shown."""

    id: str
    name: str
    token: str = field(repr=False)
    port: int
    """What `$PORT` says to its processes; differs from app to app."""
    created_at: datetime
    deploy_branch: str | None = None
    health: HealthSettings = field(default_factory=HealthSettings)
    destroying: bool = False
    locked_by: str | None = None
    """Who forbade pushes and changes until `apps:unlock`; None: nobody."""


@dataclass(frozen=True)
class Quantity:
    """How many of a process type were asked for; `stopped_at` says since when none shall run for now."""

    process: str
    quantity: int
    stopped_at: datetime | None = None

    @property
    def running(self) -> int:
        """How many shall run."""
        return 0 if self.stopped_at else self.quantity


@dataclass(frozen=True)
class ProcessLimits:
    """What one instance of a process type may use; None: the platform's default."""

    memory: int | None = None
    """Bytes."""
    cpus: float | None = None
    """Processors: 0.5 is half of one; None: as much as is free."""


@dataclass(frozen=True)
class ProcessType:
    """A process type of a release: its command as exec arguments (empty: the image's own)."""

    name: str
    command: tuple[str, ...]
    port: int | None = None
    """Where it listens if that is fixed (an own Dockerfile's `EXPOSE`); None: on the app's `$PORT`."""


@dataclass(frozen=True)
class Build:
    """One attempt to turn a commit into an image."""

    id: str
    app_id: str
    number: int
    commit: str
    ref: str
    message: str
    author: str
    status: BuildStatus
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None
    failure: str | None = None
    """The cause as one line, for a build that did not succeed."""
    failure_id: str | None = None
    image: str | None = None
    provider: str | None = None
    processes: tuple[ProcessType, ...] = ()
    release_command: tuple[str, ...] | None = None
    quarantine: str | None = None
    cancel_requested: bool = False
    job_id: str | None = None
    """The job that carries it out."""


@dataclass(frozen=True)
class Release:
    """`vN`: an image, a config snapshot and process types. Immutable but for its status."""

    id: str
    app_id: str
    version: int
    image: str
    commit: str
    processes: tuple[ProcessType, ...]
    release_command: tuple[str, ...] | None
    author: str
    reason: str
    status: ReleaseStatus
    created_at: datetime
    build_id: str | None = None
    failure: str | None = None
    config: Mapping[str, str] = field(default_factory=dict, repr=False)
    output_id: str | None = None
    """The name of what its roll-out said, among the outputs of builds."""


@dataclass(frozen=True)
class Job:
    """Work that outlives connections and processes. At most one runs per (app, lane)."""

    id: str
    app_id: str
    lane: Lane
    kind: str
    payload: Mapping[str, str]
    author: str
    status: JobStatus
    created_at: datetime
    owner: str | None = None
    result: str | None = None
    """One line: the outcome or the cause of failure."""


@dataclass(frozen=True)
class Event:
    """A line of the audit trail: who did what. Outlives the app it is about."""

    seq: int
    at: datetime
    who: str
    action: str
    app_id: str | None
    detail: str
    app: str | None = None
    """The app's name at that time."""
    address: str | None = None
    """From where: the client's address, None for the server's own shell."""
    result: str | None = None
    """`done`, `failed`, `refused`, `client left`; None while it is under way, or if the server stopped in it."""
