"""The formation's services: made, started again, parked and deleted, every step safe to repeat."""

import asyncio
from collections import Counter

from deployer.ecs import causes
from deployer.ecs.aws import Aws
from deployer.ecs.board import Board, Service
from deployer.ecs.definitions import Definitions
from deployer.ecs.errors import AwsError
from deployer.ecs.network import placement
from deployer.ecs.options import EcsOptions
from deployer.ecs.secrets import Secrets
from deployer.ecs.tasks import Identity, Task, as_tags
from deployer.manifest import Manifest, Process
from deployer.ports import EngineError

_GONE = frozenset({"ServiceNotFoundException", "ServiceNotActiveException"})


class Services:
    """One ECS service for each place of the formation, with one task, or none while it is parked.

    A service whose task crashed is parked (it wants no task) as soon as that is seen, so that the pace of new
    attempts is ours; while no control plane is there to see it, ECS starts the task again by itself.
    """

    def __init__(
        self, aws: Aws, server: str, options: EcsOptions, definitions: Definitions, secrets: Secrets
    ) -> None:
        self._aws = aws
        self._server = server
        self._options = options
        self._definitions = definitions
        self._secrets = secrets
        self._making: Counter[tuple[str, int]] = Counter()

    async def make(self, manifest: Manifest, process: Process, identity: Identity) -> Service:
        """Create a service that wants one task.

        Raises:
            EngineError: no such size, too much config, or AWS refused.
        """
        key = (manifest.app_id, manifest.release)
        self._making[key] += 1
        try:
            async with self._secrets.of(manifest) as secret:
                definition = await self._definitions.ensure(manifest, process, secret)
                name = identity.service_name(self._server)
                await self._aws.call(
                    "ecs",
                    "create_service",
                    cluster=self._options.cluster,
                    serviceName=name,
                    taskDefinition=definition,
                    desiredCount=1,
                    clientToken=name[-36:],
                    tags=as_tags(identity.tags(self._server)),
                    propagateTags="SERVICE",
                    # One task at most: nobody routes to a second one that ECS would start beside it.
                    deploymentConfiguration={"minimumHealthyPercent": 0, "maximumPercent": 100},
                    **placement(self._options),
                )
        finally:
            self._making[key] -= 1
            if not self._making[key]:
                del self._making[key]
        return Service(name, identity)

    async def want(self, service: Service, count: int) -> None:
        """Have a service want a task, or none; deleted already is fine.

        That it wants none is not said twice. That it wants one is: where somebody else parked it, only AWS knows.
        """
        async with service.turn:
            if service.desired == count == 0:
                return
            try:
                await self._aws.call(
                    "ecs",
                    "update_service",
                    cluster=self._options.cluster,
                    service=service.name,
                    desiredCount=count,
                )
            except AwsError as error:
                if error.code not in _GONE:
                    raise
            service.desired = count

    async def delete(self, service: Service, board: Board) -> None:
        """Delete a service, and the release's secret with the last one of the release."""
        try:
            await self._aws.call(
                "ecs", "delete_service", cluster=self._options.cluster, service=service.name, force=True
            )
        except AwsError as error:
            if error.code not in _GONE:
                raise
        board.remove(service.name)
        identity = service.identity
        key = (identity.app_id, identity.release)
        left = [item for item in board.of(identity.app_id) if item.identity.release == identity.release]
        if not left and key not in self._making:
            await self._secrets.release_gone(*key)

    async def up(self, service: Service, board: Board, before: int) -> Task:
        """Wait for the task after the first `before` ones to have run.

        Raises:
            EngineError: it could not be placed or started; the text says why.
        """
        pace = self._options.pace
        try:
            async with asyncio.timeout(pace.start_limit):
                task = await self._begun(service, board, before)
        except TimeoutError:
            raise EngineError(f"The task did not start within {pace.start_limit:g} s.") from None
        if not task.ran:
            raise EngineError(causes.explain(task.stop_code, task.stopped_reason, task.reason))
        return task

    async def _begun(self, service: Service, board: Board, before: int) -> Task:
        waiting = asyncio.create_task(board.until(lambda: _begun(service, board, before)))
        try:
            while True:
                patience = self._options.pace.capacity_patience
                done, _ = await asyncio.wait([waiting], timeout=patience)
                if done:
                    return waiting.result()
                if len(service.tasks) <= before and (why := await self._obstacle(service)):
                    raise EngineError(why, transient=True)
        finally:
            waiting.cancel()
            await asyncio.gather(waiting, return_exceptions=True)

    async def _obstacle(self, service: Service) -> str | None:
        answer = await self._aws.call(
            "ecs", "describe_services", cluster=self._options.cluster, services=[service.name]
        )
        events = [
            event.get("message", "") for item in answer["services"] for event in item.get("events") or ()
        ]
        return causes.obstacle(events[:10])


def _begun(service: Service, board: Board, before: int) -> Task | None:
    if service.name not in board.services:
        raise EngineError(
            f"{service.identity.process}.{service.identity.number} was removed while it started"
        )
    task = service.current
    if task is None or len(service.tasks) <= before:
        return None
    reached = task.ran and (task.host or service.identity.process != "web")
    return task if reached or task.ended else None
