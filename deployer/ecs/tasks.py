"""Services and tasks as data: names and tags on the way in, instances on the way out. Pure."""

import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

from deployer.ecs.causes import ran_out_of_memory
from deployer.manifest import Manifest
from deployer.ports import Address, Exit, Instance, State

OneOffKind = Literal["attached", "detached", "release-phase"]
ONE_OFF = "cygni.one-off"
NAME_LIMIT = 255
_SERVICE_GROUP = "service:"
_RUNS = frozenset({"RUNNING", "DEACTIVATING", "STOPPING"})
_OURS_TO_RESTART = frozenset({"EssentialContainerExited", "TaskFailedToStart", ""})
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9_-]+")
_KILLED = 137


@dataclass(frozen=True)
class Identity:
    """Which place a service fills, and what is said of it."""

    app_id: str
    app: str
    release: int
    process: str
    number: int
    generation: int
    port: int

    @classmethod
    def of(cls, manifest: Manifest, process: str, number: int, generation: int) -> "Identity":
        """The identity that a start is about."""
        return cls(
            manifest.app_id, manifest.app, manifest.release, process, number, generation, manifest.port
        )

    @classmethod
    def parse(cls, tags: Mapping[str, str]) -> "Identity | None":
        """Read it from tags; None where they are not ours."""
        try:
            return cls(
                tags["cygni.app-id"],
                tags["cygni.app"],
                int(tags["cygni.release"]),
                tags["cygni.process"],
                int(tags["cygni.number"]),
                int(tags["cygni.generation"]),
                int(tags["cygni.port"]),
            )
        except (KeyError, ValueError):
            return None

    @property
    def place(self) -> tuple[str, int, str, int, int]:
        """What makes two services the same instance."""
        return self.app_id, self.release, self.process, self.number, self.generation

    def tags(self, server: str) -> dict[str, str]:
        """What labels are on other engines."""
        return {
            "cygni.server": server,
            "cygni.app": self.app,
            "cygni.app-id": self.app_id,
            "cygni.release": str(self.release),
            "cygni.process": self.process,
            "cygni.number": str(self.number),
            "cygni.generation": str(self.generation),
            "cygni.port": str(self.port),
        }

    def service_name(self, server: str) -> str:
        """A name that people recognise, with an end that is never taken: ECS keeps a deleted name busy."""
        words = f"{self.app}-v{self.release}-{self.process}-{self.number}"
        return f"{prefix(server)}{plain(words)}"[: NAME_LIMIT - 7] + f"-{secrets.token_hex(3)}"


def prefix(server: str) -> str:
    """What the names of a server's services begin with."""
    return f"cygni-{plain(server)}-"


def plain(text: str) -> str:
    """Only what AWS allows in names of services and families."""
    return _NOT_IN_NAMES.sub("-", text)


def as_tags(values: Mapping[str, str]) -> list[dict[str, str]]:
    """Tags as ECS takes them."""
    return [{"key": key, "value": value} for key, value in values.items()]


def from_tags(tags: Sequence[Mapping[str, str]]) -> dict[str, str]:
    """Tags as ECS tells them."""
    return {tag["key"]: tag.get("value", "") for tag in tags}


@dataclass(frozen=True)
class Task:
    """One task as AWS described it last."""

    id: str
    service: str | None
    """The name of its service; None for a one-off."""
    status: str
    created_at: datetime | None
    tags: Mapping[str, str] = field(default_factory=dict)
    host: str | None = None
    started_at: datetime | None = None
    stopped_at: datetime | None = None
    exit_code: int | None = None
    reason: str = ""
    stopped_reason: str = ""
    stop_code: str = ""

    @property
    def ended(self) -> bool:
        """Whether its process is over, although ECS may still be taking its network down."""
        return self.status == "STOPPED" or (self.status == "DEPROVISIONING" and self.exit_code is not None)

    @property
    def ran(self) -> bool:
        """Whether its process was ever started."""
        return self.started_at is not None

    @property
    def state(self) -> State:
        """The engine port's word for it."""
        if self.ended:
            return "exited"
        return "running" if self.status in _RUNS else "starting"

    @property
    def out_of_memory(self) -> bool:
        """Whether it was killed for its memory."""
        return self.ended and ran_out_of_memory(self.reason, self.stopped_reason)

    @property
    def code(self) -> int | None:
        """Its exit code; a task that was killed with its machine has none of its own."""
        if not self.ended:
            return None
        return _KILLED if self.exit_code is None else self.exit_code

    @property
    def crashed(self) -> bool:
        """Whether its end was its own doing; ECS replaces at once what it stopped itself (Spot, hardware)."""
        return self.ended and self.stop_code in _OURS_TO_RESTART

    @property
    def exit(self) -> Exit:
        """How it ended."""
        return Exit(self.stopped_at, self.code, self.out_of_memory)


def task_id(arn: str) -> str:
    """The last part of a task's name."""
    return arn.rpartition("/")[2]


def read(described: Mapping[str, Any]) -> Task:
    """One entry of DescribeTasks."""
    containers = described.get("containers") or [{}]
    group = described.get("group") or ""
    code = containers[0].get("exitCode")
    return Task(
        id=task_id(described["taskArn"]),
        service=group.removeprefix(_SERVICE_GROUP) if group.startswith(_SERVICE_GROUP) else None,
        status=described.get("lastStatus") or "PROVISIONING",
        created_at=described.get("createdAt"),
        tags=from_tags(described.get("tags") or ()),
        host=_host(described),
        started_at=described.get("startedAt"),
        stopped_at=described.get("executionStoppedAt") or described.get("stoppedAt"),
        exit_code=int(code) if code is not None else None,
        reason=containers[0].get("reason") or "",
        stopped_reason=described.get("stoppedReason") or "",
        stop_code=described.get("stopCode") or "",
    )


def _host(described: Mapping[str, Any]) -> str | None:
    for attachment in described.get("attachments") or ():
        for detail in attachment.get("details") or ():
            if detail.get("name") == "privateIPv4Address":
                return str(detail["value"])
    return None


def instance(
    name: str, identity: Identity, tasks: Sequence[Task], *, desired: int, stopping: bool
) -> Instance:
    """A service and its tasks, oldest first, as one instance: the newest task is what it is now."""
    current = tasks[-1] if tasks else None
    # What ECS stopped itself (Spot, hardware) it replaces at once: nobody else has to start it again.
    if current is None or (current.ended and not current.crashed):
        state: State = "starting" if desired else "exited"
    else:
        state = current.state
    routed = identity.process == "web"
    made = Instance(
        id=name,
        app_id=identity.app_id,
        app=identity.app,
        release=identity.release,
        process=identity.process,
        number=identity.number,
        state="stopping" if stopping else state,
        generation=identity.generation,
    )
    if current is None:
        return made
    return replace(
        made,
        address=Address(current.host, identity.port) if routed and current.host else None,
        started_at=current.started_at,
        finished_at=current.stopped_at if current.ended else None,
        exit_code=current.code,
        out_of_memory=current.out_of_memory,
        restarts=len(tasks) - 1,
        last_exit=tasks[-2].exit if len(tasks) > 1 else None,
    )


def one_off(task: Task) -> Instance | None:
    """A task outside the formation as an instance; None for one that is not ours."""
    identity = Identity.parse(task.tags)
    if identity is None:
        return None
    made = instance(task.id, identity, [task], desired=1, stopping=False)
    kind = task.tags.get(ONE_OFF)
    return replace(made, one_off="detached" if kind == "detached" else None)
