"""What is known of our services and tasks: kept by batched looks, woken by events, awaited by everybody."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeVar

import structlog

from deployer.ecs.aws import Aws
from deployer.ecs.options import EcsOptions
from deployer.ecs.tasks import Identity, Task, from_tags, instance, prefix, read, task_id
from deployer.ports import EngineError, Event, Instance
from deployer.pulse import Pulse

T = TypeVar("T")

_SERVICES_A_CALL = 10
_TASKS_A_CALL = 100
_HISTORY = 10_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

log = structlog.get_logger()


@dataclass
class Service:
    """A place of the formation: one ECS service that wants one task, or none while it is parked."""

    name: str
    identity: Identity
    desired: int = 1
    stopping: int = 0
    parked: str = ""
    """The task whose end has been taken note of: for this one it is not parked again."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while what it wants is changed."""
    tasks: dict[str, Task] = field(default_factory=dict)

    @property
    def history(self) -> list[Task]:
        """Its tasks, oldest first."""
        return sorted(self.tasks.values(), key=lambda task: (task.created_at or _EPOCH, task.id))

    @property
    def current(self) -> Task | None:
        """Its newest task."""
        return self.history[-1] if self.tasks else None

    @property
    def instance(self) -> Instance:
        """What the engine port says of it."""
        return instance(
            self.name, self.identity, self.history, desired=self.desired, stopping=self.stopping > 0
        )


class Board:
    """One server's services and one-offs.

    Only this server's control plane makes and removes them, so what it did itself is known at once; what happens
    to tasks is learned by looking. `ended` is called with a service whose task ended by its own doing.
    """

    def __init__(
        self, aws: Aws, server: str, options: EcsOptions, ended: Callable[[Service], Awaitable[None]]
    ) -> None:
        self._aws = aws
        self._server = server
        self._options = options
        self._ended = ended
        self.services: dict[str, Service] = {}
        self.one_offs: dict[str, Task] = {}
        self._foreign: set[str] = set()
        self._removed: set[str] = set()
        self._awaited = 0
        self._pulse = Pulse()
        self._wanted = asyncio.Event()
        self._woken: set[str] = set()
        self._loaded = False
        self._looking = asyncio.Lock()
        self._failure: tuple[int, EngineError | None] = (0, None)
        self._events: deque[Event] = deque(maxlen=_HISTORY)
        self._count = 0
        self._observer: asyncio.Task[None] | None = None

    async def ready(self) -> None:
        """Know everything once, and go on looking from then on.

        Raises:
            EngineError: AWS does not tell.
        """
        if not self._loaded:
            async with self._looking:
                if not self._loaded:
                    await self._look_at_everything()
                    self._loaded = True
        if self._observer is None or self._observer.done():
            self._observer = asyncio.create_task(self._observe())

    async def close(self) -> None:
        """Stop looking."""
        if self._observer is not None:
            self._observer.cancel()
            await asyncio.gather(self._observer, return_exceptions=True)

    # What is known

    def of(self, app_id: str | None = None) -> list[Service]:
        """An app's services, or all."""
        return [item for item in self.services.values() if app_id in {None, item.identity.app_id}]

    def add(self, service: Service) -> Service:
        """Remember a service that was just made; a look may have met it already, and then that one counts."""
        known = self.services.setdefault(service.name, service)
        self.beat()
        return known

    def remove(self, name: str) -> None:
        """Forget a service that was deleted."""
        gone = self.services.pop(name, None)
        if gone is not None:
            self._removed.add(name)
            self._happened(name, "destroy", gone.identity.app_id)

    def add_one_off(self, task: Task) -> None:
        """Remember a one-off that was just started."""
        self.one_offs[task.id] = task
        self.beat()

    def remove_one_off(self, found: str) -> None:
        """Forget a one-off; AWS shows it for an hour and more, we do not."""
        if self.one_offs.pop(found, None) is not None:
            self._foreign.add(found)
            self.beat()

    def beat(self) -> None:
        """Wake everyone who waits."""
        self._pulse.beat()

    # Waiting

    async def until(self, found: Callable[[], T | None], *, patient: bool = False) -> T:
        """Return what `found` returns once it is something; looks often meanwhile, unless that can wait.

        Raises:
            EngineError: AWS does not tell.
        """
        with nullcontext() if patient else self._attention():
            while (value := found()) is None:
                await self._change()
            return value

    async def _change(self) -> None:
        """Return when anything is different."""
        seen = self._failure[0]
        await self._pulse.wait()
        count, error = self._failure
        if count != seen and error is not None:
            raise error

    @contextmanager
    def _attention(self) -> Iterator[None]:
        self._awaited += 1
        self._wanted.set()
        try:
            yield
        finally:
            self._awaited -= 1

    # Events

    @property
    def now(self) -> int:
        """The position of the next event."""
        return self._count

    async def next_events(self, position: int) -> list[Event]:
        """Return the events from a position on, waiting for the first.

        Raises:
            EngineError: some are forgotten, or AWS does not tell what happens.
        """
        while position == self._count:
            await self._change()
        behind = self._count - position
        if behind > len(self._events):
            raise EngineError("the engine's events broke off", transient=True)
        return list(self._events)[-behind:]

    def _happened(
        self,
        name: str,
        kind: Literal["start", "die", "oom", "destroy"],
        app_id: str,
        task: Task | None = None,
    ) -> None:
        at = (task.started_at if kind == "start" else task.stopped_at) if task else None
        code = task.code if task and kind == "die" else None
        self._events.append(Event(name, kind, at or datetime.now(UTC), code, app_id))
        self._count += 1
        self.beat()

    # Looking

    def wake(self, tasks: Sequence[str]) -> None:
        """Something happened to these tasks: describe them soon."""
        self._woken.update(tasks)
        self._wanted.set()

    async def _observe(self) -> None:
        clock = asyncio.get_running_loop().time
        pace = self._options.pace
        tick = pace.tick_with_queue if self._options.queue_url else pace.tick
        looked = everything = clock()
        while True:
            due = min(everything + pace.safety, looked + tick if self._awaited else everything + pace.safety)
            if not self._woken and (left := due - clock()) > 0:
                self._wanted.clear()
                await _event_or_timeout(self._wanted, left)
                continue
            try:
                async with self._looking:
                    woken, self._woken = self._woken, set()
                    if clock() >= everything + pace.safety:
                        await self._look_at_everything()
                        everything = looked = clock()
                    elif self._awaited and clock() >= looked + tick:
                        await self._look_at_tasks()
                        looked = clock()
                    elif woken:
                        await self._describe(woken)
                await self._park()
            except Exception as error:
                # Whatever it is: without an observer everybody would wait for ever.
                known = error if isinstance(error, EngineError) else EngineError(f"looking at ECS: {error!r}")
                log.warning("looking at ECS", error=str(error), exc_info=known is not error)
                self._failure = self._failure[0] + 1, known
                looked = everything = clock()
            self.beat()

    async def _park(self) -> None:
        """Hand services whose task crashed to their owner, who decides when they are started again."""
        for service in list(self.services.values()):
            task = service.current
            if task is None or not task.crashed or task.id == service.parked or service.stopping:
                continue
            before, service.parked = service.parked, task.id
            try:
                await self._ended(service)
            except EngineError:
                service.parked = before
                raise

    async def _look_at_everything(self) -> None:
        listed = [task_id(arn) for arn in await self._all("list_services", "serviceArns")]
        self._removed &= set(listed)
        ours = prefix(self._server)
        found = [name for name in listed if name.startswith(ours) and name not in self._removed]
        new = [name for name in found if name not in self.services]
        for first in range(0, len(new), _SERVICES_A_CALL):
            await self._meet(new[first : first + _SERVICES_A_CALL])
        for name in set(self.services) - set(found):
            if self._loaded and self.services[name].tasks:  # one just made may not be listed yet
                self.remove(name)
        await self._look_at_tasks()

    async def _meet(self, names: Sequence[str]) -> None:
        """Learn who services are that an earlier life of ours made."""
        answer = await self._ecs("describe_services", services=list(names), include=["TAGS"])
        for item in answer["services"]:
            identity = Identity.parse(from_tags(item.get("tags") or ()))
            if identity is not None and item.get("status") == "ACTIVE":
                found = Service(item["serviceName"], identity, int(item["desiredCount"]))
                self.services.setdefault(found.name, found)

    async def _look_at_tasks(self) -> None:
        """Two listings and the descriptions of what can still change, whatever the number of who waits."""
        listed = [
            task_id(arn)
            for status in ("RUNNING", "STOPPED")
            for arn in await self._all("list_tasks", "taskArns", desiredStatus=status)
        ]
        known = {found: task for item in self.services.values() for found, task in item.tasks.items()}
        known |= self.one_offs
        self._foreign &= set(listed)
        over = {found for found, task in known.items() if task.status == "STOPPED"}
        open_still = [found for found, task in known.items() if not task.ended]
        wanted = dict.fromkeys([*listed, *open_still])
        await self._describe([item for item in wanted if item not in over and item not in self._foreign])

    async def _describe(self, tasks: Sequence[str] | set[str]) -> None:
        listed = sorted(tasks)
        for first in range(0, len(listed), _TASKS_A_CALL):
            some = listed[first : first + _TASKS_A_CALL]
            answer = await self._ecs("describe_tasks", tasks=some, include=["TAGS"])
            for item in answer["tasks"]:
                self.note(read(item))

    def note(self, task: Task) -> None:
        """Take a task's newest description in, and tell what is new about it."""
        if task.service is None:
            if task.id in self.one_offs or self._is_our_one_off(task):
                self.one_offs[task.id] = task
            else:
                self._foreign.add(task.id)
            return
        service = self.services.get(task.service)
        if service is None:
            if not task.service.startswith(prefix(self._server)) or task.service in self._removed:
                self._foreign.add(task.id)
            return
        before = service.tasks.get(task.id)
        service.tasks[task.id] = task
        if self._loaded:
            self._tell(service, before, task)

    def _is_our_one_off(self, task: Task) -> bool:
        ours = task.tags.get("cygni.server") == self._server and "cygni.one-off" in task.tags
        return ours and task.id not in self._foreign

    def _tell(self, service: Service, before: Task | None, task: Task) -> None:
        app_id = service.identity.app_id
        if task.ran and not (before and before.ran):
            self._happened(service.name, "start", app_id, task)
        if task.ended and not (before and before.ended):
            if task.out_of_memory:
                self._happened(service.name, "oom", app_id, task)
            self._happened(service.name, "die", app_id, task)

    async def _all(self, operation: str, key: str, **arguments: Any) -> list[str]:
        found: list[str] = []
        token: str | None = None
        while True:
            more = {"nextToken": token} if token else {}
            answer = await self._ecs(operation, maxResults=100, **arguments, **more)
            found += answer[key]
            token = answer.get("nextToken")
            if not token:
                return found

    async def _ecs(self, operation: str, **arguments: Any) -> Mapping[str, Any]:
        return await self._aws.call("ecs", operation, cluster=self._options.cluster, **arguments)


async def _event_or_timeout(event: asyncio.Event, timeout: float) -> None:
    try:
        async with asyncio.timeout(timeout):
            await event.wait()
    except TimeoutError:
        return
