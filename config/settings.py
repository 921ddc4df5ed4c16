"""Every setting of a server, read once from `CYGNI_*` and an optional TOML file."""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

ENVIRONMENT_PREFIX = "CYGNI_"


class SettingsError(Exception):
    """Raised with one line for each setting that is wrong."""


class Settings(BaseSettings):
    """A server's settings, frozen. The environment wins over `cygni.toml` in the state directory."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, frozen=True, extra="forbid")

    data: Path = Field(description="State directory: database, repositories, logs, keys, sockets.")
    domain: str = Field(default="localhost", description="Apps answer at APP.DOMAIN.")
    bind: str = Field(default="127.0.0.1", description="Address that SSH and HTTP listen on.")
    ssh_port: int = Field(default=2222, ge=0, le=65535, description="SSH port; 0 picks a free one.")
    http_port: int = Field(default=8080, ge=0, le=65535, description="HTTP port; 0 picks a free one.")
    https_port: int | None = Field(default=None, ge=0, le=65535, description="HTTPS port; off unless set.")
    engine: Literal["docker", "ecs", "memory"] = Field(
        default="docker", description="Where apps run; memory simulates them."
    )
    ecs_region: str | None = Field(default=None, description="AWS region of the apps on ECS.")
    ecs_cluster: str = Field(default="cygni", description="ECS cluster of the apps.")
    ecs_subnets: tuple[str, ...] | None = Field(
        default=None, description="Ids of the subnets that tasks get addresses from (comma-separated)."
    )
    ecs_security_groups: tuple[str, ...] | None = Field(
        default=None,
        description="Ids of the tasks' security groups; they admit the routers (comma-separated).",
    )
    ecs_execution_role: str | None = Field(
        default=None, description="ARN of the role that pulls images, reads config and writes logs."
    )
    ecs_task_role: str | None = Field(
        default=None, description="ARN of the role that the apps' own code has; none unless set."
    )
    ecs_log_group: str = Field(default="/cygni/apps", description="CloudWatch log group of all apps.")
    ecs_queue_url: str | None = Field(
        default=None, description="SQS queue of the cluster's task events; slower polls alone unless set."
    )
    ecs_public_addresses: bool = Field(default=True, description="Whether tasks get public addresses.")
    ecs_spot: bool = Field(default=False, description="Run on Fargate Spot.")
    ecs_architecture: Literal["X86_64", "ARM64"] = Field(
        default="X86_64", description="Processor of the tasks; images must be built for it."
    )
    docker_socket: Path = Field(
        default=Path("/var/run/docker.sock"), description="Unix socket of the Docker engine."
    )
    database_url: str | None = Field(
        default=None,
        description="postgresql://USER:PASSWORD@HOST/NAME; SQLite in the state directory unless set.",
    )
    backup_dir: Path | None = Field(
        default=None,
        description="Where `cygni backup` writes unless told otherwise.",
    )
    backup_passphrase: SecretStr | None = Field(
        default=None, description="Encrypts backups; keep it where it outlives this machine."
    )
    router_workers: int | None = Field(
        default=None, ge=1, le=64, description="Router processes; one a core unless set."
    )
    router: Literal["child", "service"] = Field(
        default="child",
        description="Who starts the router: `cygni serve`, or a service of its own that is waited for.",
    )
    extra_ca: tuple[Path, ...] | None = Field(
        default=None,
        description="Certificates that stacks, builds and apps trust besides Debian's; "
        "every *.crt in /usr/local/share/ca-certificates unless set (colon-separated).",
    )
    stack_image: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/-]*[A-Za-z0-9]$",
        description="Image of a registry whose tags are Debian suites, such as docker.io/library/debian: what base "
        "images are made from. Unless set they are bootstrapped here, with mmdebstrap.",
    )
    network: IPv4Network = Field(
        default=IPv4Network("10.213.0.0/16"), description="Subnet of the bridge that app containers share."
    )
    cgroup_parent: str | None = Field(
        default=None,
        pattern=r"^[a-z][a-z0-9-]*\.slice$",
        description="systemd slice that app containers run in, such as `cygni-apps.slice`; the engine's own unless set.",
    )
    build_timeout: float = Field(default=900, gt=0, description="Seconds a build may take.")
    build_memory: int = Field(
        default=2 << 30,
        ge=64 << 20,
        description="Bytes of memory a build may use, where the engine honours it.",
    )
    build_slots: int = Field(default=2, ge=1, description="Builds at one time on this server.")
    source_bytes: int = Field(default=1 << 30, ge=1, description="Bytes that a pushed tree may hold.")
    source_files: int = Field(default=100_000, ge=1, description="Files that a pushed tree may hold.")
    pack_bytes: int = Field(default=2 << 30, ge=1, description="Bytes that a push may send.")
    disk_reserve: int = Field(default=1 << 30, ge=0, description="Free bytes below which pushes are refused.")
    drain_timeout: float = Field(default=30, ge=0, description="Seconds that old requests get after a swap.")
    releases_kept: int = Field(default=10, ge=2, description="Releases whose images stay for rollback.")
    legacy_ciphers: bool = Field(default=False, description="Offer AES-CTR to SSH clients without AES-GCM.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Server log level."
    )
    log_format: Literal["auto", "json", "console"] = Field(default="auto", description="Server log format.")

    @field_validator("extra_ca", mode="before")
    @classmethod
    def _split_paths(cls, value: Any) -> Any:
        return tuple(part for part in value.split(":") if part) if isinstance(value, str) else value

    @field_validator("ecs_subnets", "ecs_security_groups", mode="before")
    @classmethod
    def _split_names(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return tuple(part.strip() for part in value.split(",") if part.strip())

    @model_validator(mode="after")
    def _complete_for_ecs(self) -> Self:
        needed = ("ecs_region", "ecs_subnets", "ecs_security_groups", "ecs_execution_role")
        missing = [f"{ENVIRONMENT_PREFIX}{name.upper()}" for name in needed if not getattr(self, name)]
        if self.engine == "ecs" and missing:
            raise ValueError(f"{ENVIRONMENT_PREFIX}ENGINE=ecs needs {', '.join(missing)}")
        return self

    @property
    def store_url(self) -> str:
        """The database: what was set, or SQLite in the state directory."""
        return self.database_url or f"sqlite+aiosqlite:///{self.data / 'cygni.db'}"

    @property
    def router_socket(self) -> Path:
        """Where the control plane finds the router."""
        return self.data / "router.sock"

    @property
    def control_socket(self) -> Path:
        """Where the local command line finds the control plane."""
        return self.data / "control.sock"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, then the environment, then the TOML file."""
        del dotenv_settings, file_secret_settings
        data = os.environ.get(f"{ENVIRONMENT_PREFIX}DATA")
        file = os.environ.get(f"{ENVIRONMENT_PREFIX}CONFIG") or (Path(data) / "cygni.toml" if data else None)
        toml = TomlConfigSettingsSource(settings_cls, toml_file=file)
        return init_settings, env_settings, toml


def load(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the environment and the file.

    Raises:
        SettingsError: with every mistake, one a line.
    """
    try:
        return Settings(**(overrides or {}))
    except ValidationError as error:
        raise SettingsError("\n".join(_describe(item) for item in error.errors())) from None


def _describe(item: Mapping[str, Any]) -> str:
    name = ".".join(str(part) for part in item["loc"])
    if not name:
        return str(item["ctx"]["error"])
    return f"{ENVIRONMENT_PREFIX}{name.upper()}: {item['msg']}"
