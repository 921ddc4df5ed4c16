"""Task definitions: made from a manifest, registered once for each content."""

import asyncio
import json
import random
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from typing import Any

from deployer.ecs.aws import Aws
from deployer.ecs.errors import AwsError
from deployer.ecs.options import EcsOptions
from deployer.ecs.registry import Registry
from deployer.ecs.secrets import Secret
from deployer.ecs.sizes import size
from deployer.ecs.tasks import NAME_LIMIT, as_tags, plain, prefix
from deployer.manifest import Manifest, Process

_STOP_LIMIT = 120
"""The longest stop timeout that Fargate honours, in seconds."""
_SHORTEST_STOP = 2
_OPEN_FILES = 65536
_LOG_BUFFER = "25m"


def make(manifest: Manifest, process: Process, secret: Secret | None, options: EcsOptions) -> dict[str, Any]:
    """What RegisterTaskDefinition takes, without its family and tags.

    Raises:
        SizeError: Fargate has no such size.
    """
    units, memory = size(process.resources)
    made: dict[str, Any] = {
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": str(units),
        "memory": str(memory),
        "executionRoleArn": options.execution_role,
        "runtimePlatform": {"cpuArchitecture": options.architecture, "operatingSystemFamily": "LINUX"},
        "containerDefinitions": [_container(manifest, process, memory, secret, options)],
    }
    if options.task_role:
        made["taskRoleArn"] = options.task_role
    return made


def _container(
    manifest: Manifest, process: Process, memory: int, secret: Secret | None, options: EcsOptions
) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": process.type,
        "image": manifest.image,
        "essential": True,
        "memory": memory,
        "environment": _environment(manifest),
        "secrets": secret.references(manifest.env) if secret else [],
        "linuxParameters": {"initProcessEnabled": True},
        "stopTimeout": min(_STOP_LIMIT, max(_SHORTEST_STOP, round(process.stop_timeout))),
        "ulimits": [{"name": "nofile", "softLimit": _OPEN_FILES, "hardLimit": _OPEN_FILES}],
        "logConfiguration": {
            "logDriver": "awslogs",
            "options": {
                "awslogs-group": options.log_group,
                "awslogs-region": options.region,
                "awslogs-stream-prefix": manifest.app_id,
                "mode": "non-blocking",
                "max-buffer-size": _LOG_BUFFER,
            },
        },
    }
    if process.command:
        container["command"] = list(process.command)
    if process.routed:
        container["portMappings"] = [{"containerPort": manifest.port, "protocol": "tcp"}]
    return container


def _environment(manifest: Manifest) -> list[dict[str, str]]:
    """What the platform adds; config is never here, where DescribeTaskDefinition shows it to anybody."""
    values = {
        "PORT": str(manifest.port),
        "CYGNI_APP": manifest.app,
        "CYGNI_RELEASE": f"v{manifest.release}",
        "CYGNI_COMMIT": manifest.commit,
        # Images bring an init of their own, which is not the first process below Fargate's; this is how it learns so.
        "TINI_SUBREAPER": "1",
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def fingerprint(definition: Mapping[str, Any]) -> str:
    """The same for the same content."""
    return sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:16]


class Definitions:
    """Registers a definition only when no family has its content: the content's hash is part of the name.

    So no other process, and no earlier life of this one, needs to be asked what was registered. AWS allows one
    registration a second to the whole account; they are made one at a time.
    """

    def __init__(self, aws: Aws, server: str, options: EcsOptions, registry: Registry) -> None:
        self._aws = aws
        self._server = server
        self._options = options
        self._registry = registry
        self._known: dict[str, str] = {}
        self._one_at_a_time = asyncio.Lock()
        self._next = 0.0

    async def ensure(self, manifest: Manifest, process: Process, secret: Secret | None) -> str:
        """Return the name of a registered definition.

        Raises:
            SizeError: Fargate has no such size.
            EngineError: AWS refused it.
        """
        make(
            manifest, process, secret, self._options
        )  # a size that is not offered is told before a long push
        image = await self._registry.publish(manifest.app, manifest.image)
        content = make(replace(manifest, image=image), process, secret, self._options)
        words = f"{prefix(self._server)}{plain(manifest.app)}-{plain(process.type)}"
        family = f"{words[: NAME_LIMIT - 17]}-{fingerprint(content)}"
        if family not in self._known:
            async with self._one_at_a_time:
                if family not in self._known:
                    self._known[family] = await self._find(family) or await self._register(
                        family, content, manifest, process.type
                    )
        return self._known[family]

    async def _find(self, family: str) -> str | None:
        try:
            found = await self._aws.call("ecs", "describe_task_definition", taskDefinition=family)
        except AwsError as error:
            if error.code in {"ClientException", "InvalidParameterException"}:
                return None
            raise
        definition = found["taskDefinition"]
        return definition["taskDefinitionArn"] if definition.get("status") != "INACTIVE" else None

    async def _register(
        self, family: str, content: Mapping[str, Any], manifest: Manifest, process: str
    ) -> str:
        clock = asyncio.get_running_loop().time
        await asyncio.sleep(max(0.0, self._next - clock()))
        every = self._options.pace.register_every
        self._next = clock() + every * random.uniform(1.0, 1.3)  # noqa: S311 - jitter, not a secret
        tags = {
            "cygni.server": self._server,
            "cygni.app": manifest.app,
            "cygni.app-id": manifest.app_id,
            "cygni.release": str(manifest.release),
            "cygni.process": process,
        }
        made = await self._aws.call(
            "ecs", "register_task_definition", family=family, tags=as_tags(tags), **content
        )
        return str(made["taskDefinition"]["taskDefinitionArn"])
