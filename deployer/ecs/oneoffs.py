"""One-offs: tasks of RunTask, beside the formation."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from datetime import datetime
from uuid import uuid4

import structlog

from deployer.ecs import causes
from deployer.ecs.aws import Aws
from deployer.ecs.board import Board
from deployer.ecs.definitions import Definitions
from deployer.ecs.errors import AwsError
from deployer.ecs.lines import Cursor
from deployer.ecs.logs import Logs
from deployer.ecs.network import placement
from deployer.ecs.options import EcsOptions
from deployer.ecs.secrets import Secrets
from deployer.ecs.tasks import ONE_OFF, Identity, OneOffKind, Task, as_tags, one_off, read
from deployer.manifest import Manifest, Process, Resources
from deployer.ports import ONE_OFF_PROCESS, Announce, EngineError, Instance, LogLine, OneOff

RELEASE_PROCESS = "release"
OVERRIDES_LIMIT = 8192
"""Characters that RunTask takes instead of what the definition says."""
_DETACHED_STOP = 30.0
_BY_PEOPLE = "UserInitiated"

log = structlog.get_logger()


class OneOffs:
    """Runs commands in a release's image and environment, each in a task of its own."""

    def __init__(
        self,
        aws: Aws,
        server: str,
        options: EcsOptions,
        board: Board,
        definitions: Definitions,
        secrets: Secrets,
        logs: Logs,
    ) -> None:
        self._aws = aws
        self._server = server
        self._options = options
        self._board = board
        self._definitions = definitions
        self._secrets = secrets
        self._logs = logs
        self._own: set[str] = set()

    async def run(
        self, manifest: Manifest, command: tuple[str, ...], output: Announce, timeout: float
    ) -> int:
        """Run to the end, tell every line, return the exit code.

        Raises:
            TimeoutError: it ran for longer than `timeout` seconds and was stopped.
            EngineError: it could not be started or followed, or somebody stopped it.
        """
        code = None
        try:
            code = await self._run(manifest, command, output, timeout)
        finally:
            if code != 0:
                await asyncio.shield(self._forget_config(manifest))
        return code

    async def _forget_config(self, manifest: Manifest) -> None:
        """A release whose command failed gets no instances, and its secret would stay until the next sweep."""
        services = self._board.of(manifest.app_id)
        if any(item.identity.release == manifest.release for item in services):
            return
        try:
            await self._secrets.release_gone(manifest.app_id, manifest.release)
        except EngineError as error:
            log.warning("a secret stayed", app=manifest.app, release=manifest.release, error=str(error))

    async def _run(
        self, manifest: Manifest, command: tuple[str, ...], output: Announce, timeout: float
    ) -> int:
        made = await self._start(manifest, RELEASE_PROCESS, 1, command, Resources(), "release-phase")
        try:
            async with asyncio.timeout(timeout):
                async for line in self.lines(made.id, None, follow=True):
                    await output(line.text)
                ended = await self._board.until(lambda: self._ended(made.id))
        except BaseException:
            await asyncio.shield(self.remove(made.id))
            raise
        await self.remove(made.id)
        if ended.stop_code == _BY_PEOPLE or ended.code is None:
            raise EngineError("the one-off was stopped before it ended")
        return ended.code

    async def run_detached(self, manifest: Manifest, wanted: OneOff) -> Instance:
        """Start one that goes on by itself."""
        made = await self._start(
            manifest, ONE_OFF_PROCESS, wanted.number, wanted.command, wanted.resources, "detached"
        )
        found = one_off(self._board.one_offs.get(made.id, made))
        assert found is not None, "its tags are ours"
        return found

    async def _start(
        self,
        manifest: Manifest,
        process: str,
        number: int,
        command: tuple[str, ...],
        resources: Resources,
        kind: OneOffKind,
    ) -> Task:
        if sum(map(len, command)) > OVERRIDES_LIMIT - 512:
            raise EngineError(f"A command on ECS has at most {OVERRIDES_LIMIT - 512} characters.")
        await self._board.ready()
        template = Process(process, (), 1, resources, stop_timeout=_DETACHED_STOP)
        config = self._secrets.for_one if kind == "detached" else self._secrets.of
        async with config(manifest) as secret:
            definition = await self._definitions.ensure(manifest, template, secret)
            identity = Identity.of(manifest, process, number, 0)
            answer = await self._aws.call(
                "ecs",
                "run_task",
                cluster=self._options.cluster,
                taskDefinition=definition,
                overrides={"containerOverrides": [{"name": process, "command": list(command)}]},
                startedBy=f"cygni-{self._server}",
                clientToken=uuid4().hex,
                tags=as_tags(identity.tags(self._server) | {ONE_OFF: kind}),
                **placement(self._options),
            )
            if not answer["tasks"]:
                raise EngineError(causes.refused(answer.get("failures") or ()))
            tags = as_tags(identity.tags(self._server) | {ONE_OFF: kind})
            made = read({"tags": tags, **answer["tasks"][0]})
            self._own.add(made.id)
            self._board.add_one_off(made)
            await self._running(made)  # until then its config must be there
        return made

    async def _running(self, made: Task) -> None:
        """Wait for the process, and not longer than a start may take.

        Raises:
            EngineError: it never ran.
        """
        try:
            async with asyncio.timeout(self._options.pace.start_limit):
                found = await self._board.until(lambda: self._begun(made.id))
        except TimeoutError:
            await self.remove(made.id)
            raise EngineError(
                f"The task did not start within {self._options.pace.start_limit:g} s."
            ) from None
        except BaseException:
            await asyncio.shield(self.remove(made.id))
            raise
        if not found.ran:
            await self.remove(made.id)
            raise EngineError(causes.explain(found.stop_code, found.stopped_reason, found.reason))

    def _begun(self, found: str) -> Task | None:
        task = self._board.one_offs.get(found)
        if task is None:
            raise EngineError("the one-off was removed before it ran")
        return task if task.ran or task.ended else None

    def _ended(self, found: str) -> Task | None:
        task = self._board.one_offs.get(found)
        if task is None:
            raise EngineError("the one-off was removed before it ended")
        return task if task.ended else None

    async def lines(
        self, found: str, since: datetime | None, *, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        """What a one-off printed."""
        task = self._board.one_offs.get(found)
        if task is None:
            return
        stream = f"{task.tags['cygni.app-id']}/{task.tags['cygni.process']}/{task.id}"
        if not follow:
            async for line in self._logs.history(stream, Cursor(since)):
                yield line
            return
        over = asyncio.create_task(self._board.until(lambda: self._ended(found)))
        try:
            async for line in self._logs.follow(stream, since, over):
                yield line
        finally:
            over.cancel()
            await asyncio.gather(over, return_exceptions=True)

    async def list(self, app_id: str | None) -> Sequence[Instance]:
        """Detached ones in every state; those of the release phase belong to their roll-out."""
        await self._board.ready()
        found = [
            one_off(task) for task in self._board.one_offs.values() if task.tags.get(ONE_OFF) == "detached"
        ]
        return [item for item in found if item is not None and app_id in {None, item.app_id}]

    async def stop(self, found: str) -> None:
        """Stop one and wait for its end; ended already is fine."""
        await self._stop_task(found)
        await self._board.until(lambda: self._gone_or_ended(found))

    def _gone_or_ended(self, found: str) -> bool | None:
        task = self._board.one_offs.get(found)
        return True if task is None or task.ended else None

    async def remove(self, found: str) -> None:
        """Have one stopped and forget it."""
        try:
            await self._stop_task(found)
        except EngineError as error:  # `sweep` stops it, now that it is nobody's
            log.warning("a one-off stayed", task=found, error=str(error))
        self._own.discard(found)
        self._board.remove_one_off(found)

    async def _stop_task(self, found: str) -> None:
        task = self._board.one_offs.get(found)
        if task is None or task.ended:
            return
        try:
            await self._aws.call(
                "ecs", "stop_task", cluster=self._options.cluster, task=found, reason="stopped by Cygni"
            )
        except AwsError as error:
            if error.code not in {"InvalidParameterException", "ResourceNotFoundException"}:
                raise

    async def _sweep_secrets(self) -> None:
        """Tidiness only: where AWS does not permit it, everything else goes on."""
        live = {(item.identity.app_id, item.identity.release) for item in self._board.of()}
        try:
            await self._secrets.sweep(live)
        except EngineError as error:
            log.warning("old secrets stay", error=str(error))

    async def sweep(self, app_id: str | None) -> None:
        """Stop all of an app, or (None) those whose control plane died, detached ones left out."""
        await self._board.ready()
        if app_id is None:
            await self._sweep_secrets()
        for task in list(self._board.one_offs.values()):
            detached = task.tags.get(ONE_OFF) == "detached"
            if app_id is None and (detached or task.id in self._own):
                continue
            if app_id in {None, task.tags.get("cygni.app-id")}:
                await self.remove(task.id)
