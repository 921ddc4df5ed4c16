"""What should run, in words that know no engine."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Health:
    """When an instance counts as ready. Times are seconds."""

    path: str | None = None
    """Asked with GET once the port accepts; 2xx and 3xx are healthy. None: any answer to a first GET / is."""
    boot_timeout: float = 60.0
    probe_timeout: float = 5.0
    host: str = "localhost"
    """What the `Host` header of a health request says; frameworks refuse names they were not told."""


@dataclass(frozen=True)
class Resources:
    """Limits of one instance."""

    memory_bytes: int = 512 << 20
    cpu_shares: int = 1024
    cpus: float | None = None
    """The most processors it may use; None: whatever is free."""
    pids: int = 512


@dataclass(frozen=True)
class Process:
    """A process type of a release: what runs, and how many of it."""

    type: str
    command: tuple[str, ...]
    """Arguments for exec; a shell line is already wrapped as `/bin/sh -c …`. Empty: the image's own."""
    quantity: int
    resources: Resources = field(default_factory=Resources)
    stop_timeout: float = 30.0
    """Seconds between SIGTERM and SIGKILL."""

    @property
    def routed(self) -> bool:
        """Only `web` receives requests and gets `$PORT`."""
        return self.type == "web"


@dataclass(frozen=True)
class Manifest:
    """One release of one app, ready to be run. Immutable; `env` holds plain values, so never log it."""

    app_id: str
    app: str
    release: int
    image: str
    processes: tuple[Process, ...]
    env: Mapping[str, str] = field(repr=False)
    health: Health = field(default_factory=Health)
    release_command: tuple[str, ...] | None = None
    drain_timeout: float = 30.0
    port: int = 5000
    """What `$PORT` says; differs from app to app, so that a reused address refuses a stranger."""
    release_timeout: float = 3600.0
    commit: str = ""
    """What `CYGNI_COMMIT` says."""
