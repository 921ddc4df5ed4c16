"""git over SSH: finds the repository, takes the slot, runs receive-pack or upload-pack."""

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import structlog

from gitserver import git, lines, pktline, pumps
from gitserver.channel import Streams
from gitserver.child import Child
from gitserver.ports import Limits, Principal, PushHandler, Refused, Repository
from gitserver.receive import ReceiveContext, Reception
from gitserver.requests import GitRequest
from gitserver.tasks import background, while_connected

_UPLOAD_STALL_SECONDS = 120.0
_UPLOAD_WAIT_SECONDS = 60.0
_BUSY = "the server is busy with other clones; try again in a minute"
_FAILED = "something went wrong on the server; its log says what. Please try again"

log = structlog.get_logger()


class GitService:
    """Serves pushes, fetches and clones."""

    def __init__(self, handler: PushHandler, limits: Limits, hooks: Path) -> None:
        self._handler = handler
        self._limits = limits
        self._uploads = asyncio.Semaphore(limits.concurrent_uploads)
        self._receive = ReceiveContext(handler, limits, hooks, asyncio.Semaphore(limits.concurrent_ingests))

    async def serve(self, request: GitRequest, streams: Streams, principal: Principal) -> int:
        """Serve one request and return its exit code; whatever fails before the protocol is one `ERR` line.

        Raises:
            ConnectionError: the client has left before anything was started.
        """
        try:
            async with AsyncExitStack() as stack:
                target = await self._enter(stack, request, streams, principal)
                return await self._run(request, target, streams, principal)
        except Refused as refusal:
            await streams.out(pktline.error("\n".join(lines.split(str(refusal)))))
            return 1

    async def _enter(
        self, stack: AsyncExitStack, request: GitRequest, streams: Streams, principal: Principal
    ) -> Repository:
        """Open the repository and take the place that the service needs; a client that leaves stops waiting."""

        async def announce(text: str) -> None:
            await streams.err("".join(f"{line}\n" for line in lines.split(text)).encode())

        try:
            async with while_connected(streams):
                target = await self._handler.open(principal, request.name, request.service)
                if request.service == "receive-pack":
                    await stack.enter_async_context(self._handler.slot(target, principal, announce))
                else:
                    await self._take_upload(stack)
                return target
        except (Refused, ConnectionError):
            raise
        except Exception:
            log.exception("a repository could not be opened", name=request.name[:200])
            raise Refused(_FAILED) from None

    async def _take_upload(self, stack: AsyncExitStack) -> None:
        try:
            async with asyncio.timeout(_UPLOAD_WAIT_SECONDS):
                await stack.enter_async_context(self._uploads)
        except TimeoutError:
            raise Refused(_BUSY) from None

    async def _run(
        self, request: GitRequest, target: Repository, streams: Streams, principal: Principal
    ) -> int:
        if request.service == "receive-pack":
            return await Reception(self._receive, target, principal, streams).run()
        return await self._upload(target, streams)

    async def _upload(self, target: Repository, streams: Streams) -> int:
        child = await Child.spawn(
            git.upload_pack(target.path),
            env=git.environment(streams.protocol),
            limits=git.resource_limits(self._limits),
        )
        try:
            async with while_connected(streams), background(_feed(child, streams)):
                await asyncio.gather(
                    pumps.output(child.stdout, streams, _UPLOAD_STALL_SECONDS),
                    pumps.errors(child.stderr, streams, _UPLOAD_STALL_SECONDS),
                )
                code = await child.wait()
        finally:
            await child.end()
            child.close()
        return code if code >= 0 else 128 - code


async def _feed(child: Child, streams: Streams) -> None:
    """Carry what the client wants to git; the end of the one is the end of the other."""
    with suppress(BrokenPipeError):
        while data := await streams.read():
            await child.stdin.write(data)
    child.stdin.close()
