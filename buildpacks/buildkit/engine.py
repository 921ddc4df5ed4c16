"""Builds images with the engine's BuildKit.

Source: Docker Engine API, `POST /build?version=2`. Dockerfile and tree go over a session (`session`, `filesync`), so
that neither the Dockerfile nor anything else of ours lies among the app's files; secrets go the same way.
"""

import asyncio
import contextlib
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp

from buildpacks.buildkit import context, failure, session, trace
from buildpacks.buildkit.client import (
    DEFAULT_SOCKET,
    EngineClient,
    EngineRequestError,
    EngineUnavailableError,
)
from buildpacks.buildkit.filesync import FileSync
from buildpacks.buildkit.images import Images
from buildpacks.buildkit.memory import GroupRegistry, MemoryWatch
from buildpacks.buildkit.progress import INDENT, Progress
from buildpacks.buildkit.redact import Redactor
from buildpacks.buildkit.session import first_error
from buildpacks.ports import (
    Announce,
    BuildFailedError,
    BuildRequest,
    BuiltImage,
    ImageBuilder,
    TreeLimitError,
)

_DOCKERFILE = "Dockerfile"
_TICK_SECONDS = 0.1
_STOP_SECONDS = 10.0


class BuildKitBuilder(ImageBuilder):
    """Builds on one engine, at most `slots` at a time; more wait and are told so.

    `cgroup_parent` is the engine's own setting of that name, where it has one: build steps are looked for there.
    Close it, or use it as an asynchronous context manager.
    """

    def __init__(
        self, socket: Path | str = DEFAULT_SOCKET, *, slots: int = 2, cgroup_parent: str | None = None
    ) -> None:
        self.client = EngineClient(socket)
        self.images = Images(self.client)
        self._slots = asyncio.Semaphore(slots)
        self._count = slots
        self._threads = ThreadPoolExecutor(max_workers=slots, thread_name_prefix="build-context")
        self._groups = GroupRegistry(cgroup_parent)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection to the engine."""
        await self.client.close()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def build(self, request: BuildRequest, output: Announce) -> BuiltImage:
        """Build and stream output line by line as it appears; cancelling the call stops the build.

        Raises:
            BuildFailedError: with the cause.
        """
        async with self._slot(output):
            try:
                return await self._build(request, output)
            except (EngineUnavailableError, EngineRequestError) as error:
                raise BuildFailedError("engine", str(error)) from error

    @contextlib.asynccontextmanager
    async def _slot(self, output: Announce) -> AsyncIterator[None]:
        if self._slots.locked():
            await output(f"{INDENT}Waiting for a build slot: all {self._count} are in use")
        async with self._slots:
            yield

    async def _build(self, request: BuildRequest, output: Announce) -> BuiltImage:
        tree = await self._context(request)
        for note in tree.notes:
            await output(INDENT + note)
        async with self._session(request, tree) as opened:
            image = await _Run(self.client, self._groups, request, output, opened).result()
        found = await self.images.inspect(image)
        if found is None:
            raise failure.engine_gone(f"image {image} is no longer there")
        return found

    async def _context(self, request: BuildRequest) -> context.Context:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, context.of_request, request)
        except (TreeLimitError, ValueError) as error:
            raise BuildFailedError("context", str(error)) from error

    @contextlib.asynccontextmanager
    async def _session(self, request: BuildRequest, tree: context.Context) -> AsyncIterator[session.Session]:
        dockerfile = context.single(_DOCKERFILE, request.dockerfile.encode())
        files = FileSync({"context": tree, "dockerfile": dockerfile}, time.time_ns(), self._threads)
        methods: dict[str, session.Method] = {
            session.HEALTH_CHECK: session.health_method,
            session.DIFF_COPY: files.diff_copy,
        }
        if request.secrets:
            values = {name: value.encode() for name, value in request.secrets.items()}
            methods[session.GET_SECRET] = partial(session.secret_method, values=values)
        # Builds of one app hand over to the next what the engine already has of its files; apps share nothing.
        key = hashlib.sha256(request.tag.rpartition(":")[0].encode()).hexdigest()
        version = await self.client.check()
        opened = await session.open_session(self.client.socket, version, methods, shared_key=key)
        try:
            yield opened
        finally:
            await opened.close()


class _Run:
    """One build on the engine, from its request to its image."""

    def __init__(
        self,
        client: EngineClient,
        groups: GroupRegistry,
        request: BuildRequest,
        output: Announce,
        opened: session.Session,
    ) -> None:
        self._client = client
        self._request = request
        self._output = output
        self._session = opened
        self._id = secrets.token_hex(16)
        self._redactor = Redactor((*request.secrets.values(), *request.redact))
        self._progress = Progress(self._redactor)
        self._memory = MemoryWatch(groups, request.limits, self._progress.running)
        self._printed = 0
        self._writing = asyncio.Lock()

    async def result(self) -> str:
        """The image's id.

        Raises:
            BuildFailedError: with the cause.
        """
        limits = self._request.limits
        try:
            async with asyncio.timeout(limits.seconds) as clock:
                return await self._request_build()
        except TimeoutError:
            if clock.expired():
                raise failure.timed_out(self._progress, limits) from None
            raise
        except trace.TraceError as error:
            raise failure.engine_gone(str(error)) from error

    async def _request_build(self) -> str:
        params = _query(self._request, self._id, self._session.id)
        async with self._client.request("POST", "/build", timeout=None, params=params) as response:
            try:
                return await self._follow(response)
            except BaseException:
                await self._stop(response)
                raise

    async def _follow(self, response: aiohttp.ClientResponse) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                watchers = [group.create_task(self._tick()), group.create_task(self._watch_memory())]
                image = await self._read(response)
                for watcher in watchers:
                    watcher.cancel()
        except BaseExceptionGroup as errors:
            raise first_error(errors) from None
        return image

    async def _read(self, response: aiohttp.ClientResponse) -> str:
        image, error = "", ""
        async for event in trace.events(response.content.iter_any()):
            match event:
                case trace.Vertex():
                    await self._show(self._progress.vertex(event))
                case trace.Output():
                    await self._show_output(event)
                case trace.ImageId():
                    image = event.id
                case trace.BuildError():
                    error = event.message
        await self._show(self._progress.finish())
        if error:
            raise self._failed(self._redactor.text(error))
        if not image:
            raise failure.engine_gone("its answer ended early")
        return image

    def _failed(self, message: str) -> BuildFailedError:
        if self._session.failure is not None:
            return BuildFailedError("context", f"the source could not be read: {self._session.failure}")
        return failure.from_engine(message, self._progress, self._request.limits)

    async def _show_output(self, event: trace.Output) -> None:
        self._printed += len(event.data)
        if self._printed > self._request.limits.log_bytes:
            raise failure.too_much_output(self._progress, self._request.limits)
        await self._show(self._progress.output(event, time.monotonic()))

    async def _show(self, lines: list[str]) -> None:
        async with self._writing:
            for line in lines:
                await self._output(line)

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            await self._show(self._progress.due(now))
            if title := self._progress.flooding(now, self._request.limits.flood_seconds):
                raise failure.endless_output(title)

    async def _watch_memory(self) -> None:
        title = await self._memory.exceeded()
        raise failure.out_of_memory(title, self._request.limits)

    async def _stop(self, response: aiohttp.ClientResponse) -> None:
        """Make the engine end the build, and wait until it has: its answer then ends."""
        # aiohttp says RuntimeError when the engine has closed the connection instead of ending its answer.
        ended = (EngineUnavailableError, EngineRequestError, aiohttp.ClientError, RuntimeError, TimeoutError)
        with contextlib.suppress(*ended):
            async with asyncio.timeout(_STOP_SECONDS):
                await self._client.json("POST", "/build/cancel", {"id": self._id})
                while await response.content.readany():
                    pass


def _query(request: BuildRequest, build_id: str, session_id: str) -> Mapping[str, str]:
    query = {
        "version": "2",
        "remote": "client-session",
        "session": session_id,
        "buildid": build_id,
        "dockerfile": _DOCKERFILE,
        "t": request.tag,
        "labels": json.dumps(dict(request.labels)),
        "buildargs": json.dumps(dict(request.build_args)),
    }
    if request.fresh:
        query["nocache"] = "1"
    if request.target:
        query["target"] = request.target
    return query
