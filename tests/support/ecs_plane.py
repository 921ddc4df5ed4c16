"""What is behind ECS's API: services that keep tasks running, on the simulated machine, inside moto.

moto answers every call in this process; it keeps services and tasks as records in which nothing ever runs. The
plane takes those calls over, checks what AWS checks and moto does not, and lets tasks be containers in memory on
loopback addresses, with their states, exit codes, addresses, output (into moto's CloudWatch) and events (into
moto's SQS).
"""

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import RLock
from typing import Any
from uuid import uuid4

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws
from moto.core.exceptions import JsonRESTError
from moto.core.responses import ActionResult
from moto.ecs.models import ecs_backends
from moto.ecs.responses import EC2ContainerServiceResponse
from moto.logs.models import logs_backends
from moto.sqs.models import sqs_backends

from deployer.ecs import Aws, EcsEngine, EcsOptions, EcsPace
from deployer.manifest import Manifest
from deployer.memory import Machine
from deployer.memory.container import Birth, Container
from deployer.ports import Leaving

REGION = "eu-central-1"
ACCOUNT = "123456789012"
CLUSTER = "apps"
GROUP = "/cygni/apps"
QUEUE = "cygni-events"
PACE = EcsPace(
    tick=0.02, tick_with_queue=0.05, safety=0.3, long_poll=1, start_limit=20, capacity_patience=0.3, stop_grace=20,
    register_every=0, log_tick=0.02, log_overlap=5, log_settle=0.1,
)  # fmt: skip
OPTIONS = EcsOptions(
    region=REGION, cluster=CLUSTER, subnets=("subnet-1",), security_groups=("sg-1",),
    execution_role=f"arn:aws:iam::{ACCOUNT}:role/cygni/execution", log_group=GROUP, pace=PACE,
)  # fmt: skip
TAKEN_OVER = (
    "create_service", "update_service", "delete_service", "describe_services", "list_services", "run_task",
    "stop_task", "list_tasks", "describe_tasks",
)  # fmt: skip
LIVE = ("PROVISIONING", "PENDING", "RUNNING")
IMAGE_ERROR = (
    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref {}"
)


@dataclass
class PlaneService:
    name: str
    definition: str
    desired: int
    tags: list[dict[str, str]]
    status: str = "ACTIVE"
    events: list[dict[str, Any]] = field(default_factory=list)

    def described(self) -> dict[str, Any]:
        return {
            "serviceName": self.name, "serviceArn": _arn("service", self.name), "status": self.status,
            "desiredCount": self.desired, "tags": self.tags, "events": self.events[::-1],
            "taskDefinition": self.definition,
        }  # fmt: skip


@dataclass
class PlaneTask:
    id: str
    service: PlaneService | None
    definition: str
    tags: list[dict[str, str]]
    command: tuple[str, ...] | None = None
    started_by: str = ""
    status: str = "PROVISIONING"
    desired: str = "RUNNING"
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    started: datetime | None = None
    stopped: datetime | None = None
    host: str = ""
    code: int | None = None
    reason: str = ""
    stopped_reason: str = ""
    stop_code: str = ""
    told_to_stop: asyncio.Event = field(default_factory=asyncio.Event)

    def described(self) -> dict[str, Any]:
        container: dict[str, Any] = {"name": "main", "lastStatus": self.status}
        container |= {"exitCode": self.code} if self.code is not None else {}
        container |= {"reason": self.reason} if self.reason else {}
        found: dict[str, Any] = {
            "taskArn": _arn("task", self.id), "lastStatus": self.status, "desiredStatus": self.desired,
            "group": f"service:{self.service.name}" if self.service else "family:one-off",
            "startedBy": self.started_by, "createdAt": self.created, "tags": self.tags, "containers": [container],
            "taskDefinitionArn": self.definition,
        }  # fmt: skip
        if self.host:
            details = [{"name": "privateIPv4Address", "value": self.host}]
            found["attachments"] = [{"type": "ElasticNetworkInterface", "details": details}]
        moments = {"startedAt": self.started, "stoppedAt": self.stopped, "executionStoppedAt": self.stopped}
        found |= {key: value for key, value in moments.items() if value}
        words = {"stoppedReason": self.stopped_reason, "stopCode": self.stop_code}
        return found | {key: value for key, value in words.items() if value}


def _arn(kind: str, name: str) -> str:
    return f"arn:aws:ecs:{REGION}:{ACCOUNT}:{kind}/{CLUSTER}/{name}"


class Plane:
    """One region of a pretended AWS. Faults are injected here and at its machine."""

    def __init__(self, machine: Machine, addresses: Sequence[str], *, queue: bool = True) -> None:
        self.machine = machine
        self.calls: Counter[str] = Counter()
        self.services: dict[str, PlaneService] = {}
        self.tasks: dict[str, PlaneTask] = {}
        self.wanted: list[int] = []
        """What UpdateService asked for, in order."""
        self.capacity = True
        self.start_after = 0.0
        self.replace_after = 3.0
        """How long the scheduler waits before it replaces a task that ended by itself."""
        self.stop_scale = 0.05
        """What a second of the stop timeout takes here."""
        self.refusals: list[tuple[str, str, str]] = []
        """Operation, code and message of calls that are refused, each once."""
        self._addresses = list(addresses)
        self._lock = RLock()
        self._loop = asyncio.get_running_loop()
        self._work: set[asyncio.Task[None]] = set()
        self._aws = mock_aws()
        self._patch = pytest.MonkeyPatch()
        self._with_queue = queue
        self.queue_url: str | None = None
        self.session: Any = None
        self._clients: dict[str, Any] = {}

    def open(self) -> None:
        self._aws.start()
        self.session = boto3.Session(region_name=REGION)
        # Here and not later: a session, unlike its clients, is not for several threads at a time.
        for service in ("ecs", "logs", "sqs", "secretsmanager"):
            self._clients[service] = self.session.client(service)
        self.client("ecs").create_cluster(clusterName=CLUSTER)
        self.client("logs").create_log_group(logGroupName=GROUP)
        if self._with_queue:
            self.queue_url = self.client("sqs").create_queue(QueueName=QUEUE)["QueueUrl"]
        for operation in TAKEN_OVER:
            self._patch.setattr(EC2ContainerServiceResponse, operation, self._handler(operation))

    async def close(self) -> None:
        for task in list(self._work):
            task.cancel()
        await asyncio.gather(*self._work, return_exceptions=True)
        self._patch.undo()
        self._aws.stop()

    def engine(
        self, aws: Aws | None = None, server: str = "server", leaving: Leaving | None = None, **values: Any
    ) -> EcsEngine:
        """What one control plane has of it."""
        options = replace(OPTIONS, **{"queue_url": self.queue_url, **values})
        return EcsEngine(options, server, leaving=leaving, aws=aws or Aws(REGION, self.session))

    def client(self, service: str) -> Any:
        return self._clients[service]

    def refuse(self, operation: str, code: str, message: str) -> None:
        self.refusals.append((operation, code, message))

    def running(self, name: str) -> bool:
        """Whether a service, or a one-off by its id, has a task whose process runs."""
        return any(
            task.status in {"RUNNING", "DEACTIVATING"}
            and name in {task.id, task.service.name if task.service else ""}
            for task in self.tasks.values()
        )

    def secret(self, name: str) -> dict[str, str] | None:
        """What is kept under this name; None for nothing, or for what is being deleted."""
        client = self.client("secretsmanager")
        try:
            found: dict[str, str] = json.loads(client.get_secret_value(SecretId=name)["SecretString"])
        except ClientError:
            return None
        return found

    def secrets(self) -> dict[str, dict[str, str]]:
        """Everything that is kept, by name."""
        names = [item["Name"] for item in self.client("secretsmanager").list_secrets()["SecretList"]]
        return {name: found for name in names if (found := self.secret(name)) is not None}

    def fill(self, server: str, image: str, count: int) -> None:
        """Have so many services with a task each, of records only, and a few of another server."""
        for owner, theirs in ((server, count), ("other", 20)):
            for number in range(theirs):
                values = {
                    "server": owner,
                    "app-id": "app-id",
                    "app": "shop",
                    "release": "1",
                    "process": "worker",
                }
                values |= {"number": str(number), "generation": "0", "port": "5000"}
                tags = [{"key": f"cygni.{key}", "value": value} for key, value in values.items()]
                service = PlaneService(f"cygni-{owner}-shop-v1-worker-{number}-000000", image, 1, tags)
                self.services[service.name] = service
                task = PlaneTask(
                    uuid4().hex, service, image, tags, status="RUNNING", started=datetime.now(UTC)
                )
                self.tasks[task.id] = task

    def interrupt(self, service: str) -> None:
        """Take the capacity of a service's task away, as Spot does."""
        for task in self.tasks.values():
            if task.service is not None and task.service.name == service and task.desired == "RUNNING":
                self._stop(task, "SpotInterruption", "Your Spot Task was interrupted.")

    # The API

    def _handler(self, operation: str) -> Callable[[Any], ActionResult]:
        work = getattr(self, f"_{operation}")

        def handle(response: Any) -> ActionResult:
            with self._lock:
                self.calls[operation] += 1
                for refusal in self.refusals:
                    if refusal[0] == operation:
                        self.refusals.remove(refusal)
                        raise JsonRESTError(refusal[1], refusal[2])
                return ActionResult(work(response._get_param))

        return handle

    def _create_service(self, get: Callable[[str], Any]) -> dict[str, Any]:
        name, ours = get("serviceName"), self.services.get(get("serviceName"))
        if ours is not None and ours.status != "INACTIVE":
            words = {"DRAINING": "Unable to Start a service that is still Draining."}
            raise JsonRESTError(
                "InvalidParameterException",
                words.get(ours.status, "Creation of service was not idempotent."),
            )
        if not get("networkConfiguration")["awsvpcConfiguration"]["subnets"]:
            raise JsonRESTError("InvalidParameterException", "subnets can not be empty.")
        _definition(get("taskDefinition"))
        tags = get("tags") or []
        made = PlaneService(name, get("taskDefinition"), get("desiredCount"), tags)
        self.services[name] = made
        self._schedule()
        return {"service": made.described()}

    def _active(self, name: str) -> PlaneService:
        found = self.services.get(name)
        if found is None:
            raise JsonRESTError("ServiceNotFoundException", "Service not found.")
        if found.status != "ACTIVE":
            raise JsonRESTError("ServiceNotActiveException", "Service was not ACTIVE.")
        return found

    def _update_service(self, get: Callable[[str], Any]) -> dict[str, Any]:
        found = self._active(get("service"))
        found.desired = get("desiredCount")
        self.wanted.append(found.desired)
        self._schedule()
        return {"service": found.described()}

    def _delete_service(self, get: Callable[[str], Any]) -> dict[str, Any]:
        found = self._active(get("service"))
        if found.desired and not get("force"):
            raise JsonRESTError(
                "InvalidParameterException", "The service cannot be stopped while it is scaled above 0."
            )
        found.status, found.desired = "DRAINING", 0
        self._schedule()
        return {"service": found.described()}

    def _describe_services(self, get: Callable[[str], Any]) -> dict[str, Any]:
        names = get("services")
        if len(names) > 10:
            raise JsonRESTError("InvalidParameterException", "Services cannot be more than 10.")
        return {"services": [self.services[name].described() for name in names if name in self.services]}

    def _list_services(self, get: Callable[[str], Any]) -> dict[str, Any]:
        names = [item.name for item in self.services.values() if item.status != "INACTIVE"]
        page, token = _page([_arn("service", name) for name in names], get)
        return {"serviceArns": page, "nextToken": token}

    def _run_task(self, get: Callable[[str], Any]) -> dict[str, Any]:
        if not self.capacity:
            failure = {"reason": "Capacity is unavailable at this time. Please try again later."}
            return {"tasks": [], "failures": [failure]}
        _definition(get("taskDefinition"))
        command = tuple(get("overrides")["containerOverrides"][0]["command"])
        made = PlaneTask(
            uuid4().hex, None, get("taskDefinition"), get("tags") or [], command, get("startedBy")
        )
        self._begin(made)
        return {"tasks": [made.described()], "failures": []}

    def _stop_task(self, get: Callable[[str], Any]) -> dict[str, Any]:
        found = self.tasks.get(get("task").rpartition("/")[2])
        if found is None:
            raise JsonRESTError("InvalidParameterException", "The referenced task was not found.")
        self._stop(found, "UserInitiated", get("reason") or "Task stopped by user")
        return {"task": found.described()}

    def _list_tasks(self, get: Callable[[str], Any]) -> dict[str, Any]:
        wanted = get("desiredStatus") or "RUNNING"
        found = [_arn("task", item.id) for item in self.tasks.values() if item.desired == wanted]
        page, token = _page(found, get)
        return {"taskArns": page, "nextToken": token}

    def _describe_tasks(self, get: Callable[[str], Any]) -> dict[str, Any]:
        names = [name.rpartition("/")[2] for name in get("tasks")]
        if len(names) > 100:
            raise JsonRESTError("InvalidParameterException", "Tasks cannot be more than 100.")
        return {"tasks": [self.tasks[name].described() for name in names if name in self.tasks]}

    # The scheduler, on the event loop

    def _schedule(self) -> None:
        self._loop.call_soon_threadsafe(self._reconcile)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    def _reconcile(self) -> None:
        with self._lock:
            for service in self.services.values():
                live = [t for t in self.tasks.values() if t.service is service and t.desired == "RUNNING"]
                for task in live[service.desired :]:
                    self._stop(task, "ServiceSchedulerInitiated", "Scaling activity initiated by deployment")
                if len(live) < service.desired:
                    self._place(service)
                busy = [t for t in self.tasks.values() if t.service is service and t.status != "STOPPED"]
                if service.status == "DRAINING" and not busy:
                    service.status = "INACTIVE"

    def _place(self, service: PlaneService) -> None:
        if not self.capacity:
            text = f"(service {service.name}) was unable to place a task. Reason: Capacity is unavailable at this time."
            service.events.append({"id": uuid4().hex, "createdAt": datetime.now(UTC), "message": text})
            return
        self._begin(PlaneTask(uuid4().hex, service, service.definition, service.tags, None, "ecs-svc/1"))

    def _begin(self, task: PlaneTask) -> None:
        self.tasks[task.id] = task
        self._loop.call_soon_threadsafe(lambda: self._spawn(self._live(task)))

    def _stop(self, task: PlaneTask, code: str, reason: str) -> None:
        if task.desired == "STOPPED":
            return
        task.desired, task.stop_code, task.stopped_reason = "STOPPED", code, reason
        self._loop.call_soon_threadsafe(task.told_to_stop.set)

    def _replace_later(self) -> None:
        self._loop.call_later(self.replace_after, self._reconcile)

    # A task

    async def _live(self, task: PlaneTask) -> None:
        self._becomes(task, "PENDING")
        if self.start_after:
            await asyncio.sleep(self.start_after)
        container = self._container(task)
        if container is None:
            self._over(task)
            return
        container.start()
        with self._lock:
            task.started = container.started_at
        self._becomes(task, "RUNNING")
        self._spawn(self._ship(task, container))
        await self._until_over(task, container)
        with self._lock:
            task.code = container.exit_code
            task.reason = (
                "OutOfMemoryError: Container killed due to memory usage" if container.out_of_memory else ""
            )
            by_itself = task.desired == "RUNNING"
            if by_itself:
                task.desired, task.stop_code = "STOPPED", "EssentialContainerExited"
                task.stopped_reason = "Essential container in task exited"
        self._ship_now(task, container)
        self.machine.remove(container)
        self._over(task, by_itself=by_itself)

    async def _until_over(self, task: PlaneTask, container: Container) -> None:
        told = asyncio.create_task(self._told(task))
        ended = asyncio.create_task(container.ended())
        try:
            await asyncio.wait([told, ended], return_when=asyncio.FIRST_COMPLETED)
            if container.state == "running":
                self._becomes(task, "DEACTIVATING")
                seconds = _definition(task.definition)["containerDefinitions"][0].get("stopTimeout", 30)
                await container.terminate(seconds * self.stop_scale)
        finally:
            told.cancel()
            ended.cancel()

    async def _told(self, task: PlaneTask) -> None:
        """By its name, a task of the machine's: no death of a control plane ends it."""
        await task.told_to_stop.wait()

    def _container(self, task: PlaneTask) -> Container | None:
        definition = _definition(task.definition)["containerDefinitions"][0]
        tags = {tag["key"]: tag["value"] for tag in task.tags}
        command = task.command or tuple(definition.get("command") or ())
        program = self.machine.program(definition["image"], command)
        taken = {item.host for item in self.tasks.values() if item.status != "STOPPED"}
        free = [address for address in self._addresses if address not in taken]
        with self._lock:
            if task.desired == "STOPPED":
                return None
            if program is None or not free:
                task.desired, task.stop_code = "STOPPED", "TaskFailedToStart"
                missing = IMAGE_ERROR.format(definition["image"])
                task.stopped_reason = (
                    missing if program is None else "InsufficientFreeAddressesInSubnet: RESOURCE:ENI"
                )
                return None
            task.host = free[0]
            self._addresses.remove(task.host)
            self._addresses.append(task.host)
        environment = {item["name"]: item["value"] for item in definition["environment"]}
        values = self._secrets(definition.get("secrets") or ())
        manifest = Manifest(
            tags["cygni.app-id"], tags["cygni.app"], int(tags["cygni.release"]), definition["image"], (), values,
            port=int(environment["PORT"]),
        )  # fmt: skip
        birth = Birth(
            task.service.name if task.service else task.id, tags["cygni.server"], manifest, tags["cygni.process"],
            int(tags["cygni.number"]), int(tags["cygni.generation"]), program, task.host,
            tags["cygni.process"] == "web", "release-phase" if task.service is None else None,
        )  # fmt: skip
        return self.machine.add(birth)

    def _secrets(self, references: Any) -> dict[str, str]:
        """What the execution role would read."""
        values = {}
        client = self.client("secretsmanager")
        for reference in references:
            arn, key, _, version = reference["valueFrom"].rsplit(":", 3)
            try:
                text = client.get_secret_value(SecretId=arn, VersionId=version)["SecretString"]
            except ClientError as error:
                raise AssertionError(f"{reference} points nowhere") from error
            values[reference["name"]] = json.loads(text)[key]
        return values

    def _over(self, task: PlaneTask, *, by_itself: bool = False) -> None:
        with self._lock:
            task.stopped = datetime.now(UTC)
            task.desired = "STOPPED"
        self._becomes(task, "STOPPED")
        if by_itself or task.stop_code == "TaskFailedToStart":
            self._replace_later()
        else:
            self._reconcile()

    def _becomes(self, task: PlaneTask, status: str) -> None:
        with self._lock:
            task.status = status
        if self.queue_url:
            detail = {"taskArn": _arn("task", task.id), "lastStatus": status}
            body = {"source": "aws.ecs", "detail-type": "ECS Task State Change", "detail": detail}
            sqs_backends[ACCOUNT][REGION].send_message(QUEUE, json.dumps(body))

    async def _ship(self, task: PlaneTask, container: Container) -> None:
        while container.state == "running" or not container.gone:
            self._ship_now(task, container)
            await container.pulse.wait()

    def _ship_now(self, task: PlaneTask, container: Container) -> None:
        lines, container.lines = container.lines, []
        if not lines:
            return
        definition = _definition(task.definition)["containerDefinitions"][0]
        options = definition["logConfiguration"]["options"]
        stream = f"{options['awslogs-stream-prefix']}/{definition['name']}/{task.id}"
        backend = logs_backends[ACCOUNT][REGION]
        backend.ensure_log_stream(options["awslogs-group"], stream)
        events = [{"timestamp": int(line.at.timestamp() * 1000), "message": line.text} for line in lines]
        backend.put_log_events(options["awslogs-group"], stream, events)


def _definition(name: str) -> dict[str, Any]:
    found = ecs_backends[ACCOUNT][REGION].describe_task_definition(name)
    return {"containerDefinitions": found.container_definitions}


def _page(found: list[str], get: Callable[[str], Any]) -> tuple[list[str], str | None]:
    first, size = int(get("nextToken") or 0), int(get("maxResults") or 100)
    more = str(first + size) if first + size < len(found) else None
    return found[first : first + size], more
