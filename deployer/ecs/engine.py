"""Implements the Engine port on ECS: an instance is a service of one task. Decision record 18 says why."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime

from deployer.ecs.aws import Aws
from deployer.ecs.board import Board, Service
from deployer.ecs.definitions import Definitions
from deployer.ecs.errors import NotOnEcsError
from deployer.ecs.lines import Cursor
from deployer.ecs.logs import Logs
from deployer.ecs.oneoffs import OneOffs
from deployer.ecs.options import EcsOptions
from deployer.ecs.queue import Queue
from deployer.ecs.registry import Published, Registry
from deployer.ecs.secrets import Secrets
from deployer.ecs.services import Services
from deployer.ecs.tasks import Identity, Task, one_off
from deployer.manifest import Manifest, Process
from deployer.ports import (
    Address,
    Announce,
    Attachment,
    EngineError,
    Event,
    Instance,
    Leaving,
    LogLine,
    OneOff,
    Terminal,
    Usage,
    nobody,
)


class EcsEngine:
    """Services of one server in one cluster. Those of other servers in the same cluster are never touched."""

    def __init__(
        self,
        options: EcsOptions,
        server: str,
        *,
        leaving: Leaving | None = None,
        aws: Aws | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._options = options
        self._leaving = leaving or nobody
        self.aws = aws or Aws(options.region)
        self._board = Board(self.aws, server, options, self._park)
        definitions = Definitions(self.aws, server, options, registry or Published())
        secrets = Secrets(self.aws, server)
        self._logs = Logs(self.aws, options)
        self._services = Services(self.aws, server, options, definitions, secrets)
        self._one_offs = OneOffs(self.aws, server, options, self._board, definitions, secrets, self._logs)
        self._queue = (
            Queue(self.aws, options.queue_url, options.pace.long_poll, self._board.wake)
            if options.queue_url
            else None
        )

    async def check(self) -> None:
        """Raise EngineError when the cluster cannot be used."""
        answer = await self.aws.call("ecs", "describe_clusters", clusters=[self._options.cluster])
        states = [item.get("status") for item in answer["clusters"]]
        if states != ["ACTIVE"]:
            raise EngineError(
                f"There is no active ECS cluster {self._options.cluster} in {self._options.region}. Check "
                "CYGNI_ECS_CLUSTER and CYGNI_ECS_REGION."
            )

    async def close(self) -> None:
        """Release connections and threads; what runs goes on."""
        if self._queue is not None:
            await self._queue.close()
        await self._board.close()
        await self._logs.close()
        self.aws.close()

    async def _ready(self) -> None:
        await self._board.ready()
        if self._queue is not None:
            self._queue.start()

    async def _park(self, service: Service) -> None:
        await self._services.want(service, 0)

    # Instances

    async def start(
        self, manifest: Manifest, process: Process, number: int, *, generation: int = 0
    ) -> Instance:
        """Create a service and return when its task runs; one that was begun before is gone on with."""
        await self._ready()
        wanted = Identity.of(manifest, process.type, number, generation)
        found = None
        for service in self._board.of(manifest.app_id):
            if service.identity.place != wanted.place or service.stopping:
                continue
            # One that wants no task is on its way out, although its process may still run: a stop was cut off there.
            if service.instance.state == "exited" or not service.desired:
                await self.stop(service.instance, 0)
            else:
                found = service
        if found is None:
            found = await self._make(manifest, process, wanted)
        return await self._started(found)

    async def _make(self, manifest: Manifest, process: Process, wanted: Identity) -> Service:
        making = asyncio.ensure_future(self._services.make(manifest, process, wanted))
        try:
            service = await asyncio.shield(making)
        except asyncio.CancelledError:
            # The call may be under way in a thread: what it makes must be known, or nobody would remove it.
            made = await asyncio.gather(making, return_exceptions=True)
            for item in made:
                if isinstance(item, Service):
                    await asyncio.shield(self._discard(self._board.add(item)))
            raise
        return self._board.add(service)

    async def _started(self, service: Service) -> Instance:
        try:
            await self._services.up(service, self._board, sum(task.ended for task in service.history[:-1]))
        except BaseException:
            await asyncio.shield(self._discard(service))
            raise
        return service.instance

    async def _discard(self, service: Service) -> None:
        """Take away what never ran. Its output, if there is any, is not waited for."""
        try:
            await self._services.want(service, 0)
            await self._services.delete(service, self._board)
        except EngineError:
            return  # it is nobody's: the reconciler finds it in the list and has it stopped

    async def list(self, app_id: str | None = None) -> Sequence[Instance]:
        """Return this server's instances in every state, one-off ones left out."""
        await self._ready()
        return [service.instance for service in self._board.of(app_id)]

    async def inspect(self, instance_id: str) -> Instance | None:
        """Return one instance as it is now, None when it is gone."""
        await self._ready()
        if instance_id in self._board.one_offs:
            return one_off(self._board.one_offs[instance_id])
        service = self._board.services.get(instance_id)
        return service.instance if service else None

    async def usage(self, instances: Sequence[Instance]) -> Mapping[str, Usage]:
        """Nothing is measured: Container Insights costs extra and is a minute behind."""
        del instances
        await self._ready()
        return {}

    async def stop(self, instance: Instance, timeout: float) -> None:
        """SIGTERM, then SIGKILL after the stop timeout of its release, then remove; gone already is fine.

        Fargate takes the time between the signals from the task definition, so `timeout` changes nothing.
        """
        del timeout
        await self._ready()
        if instance.id in self._board.one_offs:
            await self._stop_one_off(instance)
            return
        service = self._board.services.get(instance.id)
        if service is None:
            return
        service.stopping += 1
        try:
            await self._end(service)
            await self._leaving(instance)
            if service.name in self._board.services:
                await self._services.delete(service, self._board)
        finally:
            service.stopping -= 1

    async def _stop_one_off(self, instance: Instance) -> None:
        await self._one_offs.stop(instance.id)
        await self._leaving(instance)
        await self._one_offs.remove(instance.id)

    async def _end(self, service: Service) -> None:
        """Have its task stopped by ECS and return when it has ended."""
        await self._services.want(service, 0)
        limit = self._options.pace.stop_grace + 120
        try:
            async with asyncio.timeout(limit):
                await self._board.until(lambda: self._over(service))
        except TimeoutError:
            raise EngineError(
                f"{service.instance.name} did not stop within {limit:g} s", transient=True
            ) from None

    def _over(self, service: Service) -> bool | None:
        gone = service.name not in self._board.services
        task = service.current
        return True if gone or task is None or task.ended else None

    async def restart(self, instance: Instance, timeout: float = 30.0) -> Instance:
        """Have a fresh task in the same service; its address is another one."""
        del timeout
        await self._ready()
        service = self._restartable(instance)
        task = service.current
        if task is not None and not task.ended:
            if instance.started_at not in {None, task.started_at}:
                # ECS has replaced the task that the caller looked at: the fresh one is what it wants.
                await self._services.up(service, self._board, len(service.tasks) - 1)
                return service.instance
            await self._end(service)
        self._restartable(instance)
        if task is not None:
            service.parked = task.id
        before = len(service.tasks)
        await self._services.want(service, 1)
        await self._services.up(service, self._board, before)
        return service.instance

    def _restartable(self, instance: Instance) -> Service:
        service = self._board.services.get(instance.id)
        if service is None:
            raise EngineError(f"{instance.name} is gone")
        if service.stopping:
            raise EngineError(f"{instance.name} is being stopped")
        return service

    async def wait(self, instance: Instance) -> Instance | None:
        """Return the instance as soon as it does not run, None when it is gone."""
        await self._ready()
        service = self._board.services.get(instance.id)
        if service is None:
            return None
        await self._board.until(lambda: self._over(service) if service.tasks or not service.desired else None)
        found = self._board.services.get(instance.id)
        return found.instance if found else None

    async def listening(self, instance: Instance) -> Sequence[Address]:
        """Nobody sees into a Fargate task from outside: unknown."""
        del instance
        await self._ready()
        return ()

    def reclaim(self, app_id: str) -> None:
        """Addresses are given out by AWS, which does not ask us."""

    # One-offs

    async def sweep(self, app_id: str | None = None) -> None:
        """Stop one-offs: all of an app, or (None) those whose control plane died, detached ones left out."""
        await self._ready()
        await self._one_offs.sweep(app_id)

    async def one_offs(self, app_id: str | None = None) -> Sequence[Instance]:
        """Return this server's detached one-offs in every state."""
        await self._ready()
        return await self._one_offs.list(app_id)

    async def run(
        self, manifest: Manifest, command: tuple[str, ...], output: Announce, timeout: float
    ) -> int:
        """Run a one-off in the release's image and environment; returns its exit code."""
        await self._ready()
        return await self._one_offs.run(manifest, command, output, timeout)

    async def run_detached(self, manifest: Manifest, one_off: OneOff) -> Instance:
        """Start a one-off that outlives the caller; its output is in `logs`."""
        await self._ready()
        return await self._one_offs.run_detached(manifest, one_off)

    async def run_attached(self, manifest: Manifest, one_off: OneOff) -> tuple[Instance, Attachment]:
        """Refused: the data channel of ECS Exec is not spoken yet."""
        del manifest, one_off
        raise NotOnEcsError("A run with a terminal is not there yet on ECS. Use `run -d` and `logs`.")

    async def execute(
        self,
        instance: Instance,
        command: tuple[str, ...],
        terminal: Terminal | None,
        environment: Mapping[str, str],
    ) -> Attachment:
        """Refused: the data channel of ECS Exec is not spoken yet."""
        del instance, command, terminal, environment
        raise NotOnEcsError("A process inside a running instance is not there yet on ECS.")

    # Output and events

    async def logs(
        self, instance: Instance, since: datetime | None, *, follow: bool, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """Lines after `since` (all for None), then as they come when `follow`; ends with the instance.

        CloudWatch does not tell the two streams apart: everything is `stdout`.
        """
        await self._ready()
        if instance.id in self._board.one_offs:
            async with aclosing(self._one_offs.lines(instance.id, since, follow=follow)) as lines:
                async for line in lines:
                    yield line
            return
        service = self._board.services.get(instance.id)
        if service is None:
            return
        past = [task for task in service.history if task.ran]
        current = past.pop() if follow and past and not past[-1].ended else None
        found: deque[LogLine] = deque(maxlen=tail)
        after = since
        for task in [*past, *([current] if current and tail is not None else [])]:
            async with aclosing(self._history(service, task, since, tail)) as lines:
                async for line in lines:
                    if tail is None:
                        yield line
                    else:
                        found.append(line)
                        after = line.at
        for line in found:
            yield line
        if current is not None:
            async with aclosing(self._follow(service, current, after)) as lines:
                async for line in lines:
                    yield line

    async def _history(
        self, service: Service, task: Task, since: datetime | None, tail: int | None
    ) -> AsyncGenerator[LogLine, None]:
        stream = _stream(service, task)
        cursor = Cursor(since)
        if tail is not None:
            cursor.at = max(cursor.start, await self._logs.start_of_tail(stream, tail))
        async with aclosing(self._logs.history(stream, cursor)) as lines:
            async for line in lines:
                yield line

    async def _follow(
        self, service: Service, task: Task, since: datetime | None
    ) -> AsyncGenerator[LogLine, None]:
        def ended() -> bool | None:
            now = service.tasks[task.id]
            return True if now.ended or service.name not in self._board.services else None

        over = asyncio.create_task(self._board.until(ended, patient=True))
        try:
            async with aclosing(self._logs.follow(_stream(service, task), since, over)) as lines:
                async for line in lines:
                    yield line
        finally:
            over.cancel()
            await asyncio.gather(over, return_exceptions=True)

    def events(self) -> AsyncGenerator[Event, None]:
        """Events of this server's instances, one-off ones left out, from this call on."""
        return self._events(self._board.now)

    async def _events(self, position: int) -> AsyncGenerator[Event, None]:
        await self._ready()
        while True:
            for event in await self._board.next_events(position):
                position += 1
                yield event


def _stream(service: Service, task: Task) -> str:
    return f"{service.identity.app_id}/{service.identity.process}/{task.id}"
