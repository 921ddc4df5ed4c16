"""One push, from the advertisement of refs to the handler's last word."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog

from gitserver import connectivity, git, lines, policy, pumps, repository
from gitserver.channel import Streams
from gitserver.child import Child
from gitserver.header import HeaderTooLongError, PushHeader
from gitserver.hook import Hook, HookError, Question
from gitserver.ports import ZERO_ID, Limits, Principal, Push, PushHandler, Refused, Repository
from gitserver.tasks import background, end

STALL_SECONDS = 60.0
HEADER_SECONDS = 3600.0  # a client's own pre-push hook may run between the refs and its commands
INGEST_SECONDS = 3600.0
INGEST_WAIT_SECONDS = 900.0
_LINGER_SECONDS = 60.0
_ENDING_SECONDS = 10.0
_FAILED = "Something went wrong on the server; its log says what. Nothing was changed, push again."
_RESTARTING = "The server is restarting. Nothing was changed, push again in a moment."

log = structlog.get_logger()


@dataclass(frozen=True)
class ReceiveContext:
    """What all pushes share."""

    handler: PushHandler
    limits: Limits
    hooks: Path
    ingests: asyncio.Semaphore


class PushClient:
    """The pusher, as the handler sees it."""

    def __init__(self, streams: Streams, hook: Hook) -> None:
        self._streams = streams
        self._hook = hook

    async def line(self, text: str) -> None:
        """Show the lines of a text on side-band 2, cleaned; return at once when the client is gone."""
        for line in lines.split(text):
            if self._streams.gone:
                return
            with suppress(BrokenPipeError):
                await self._hook.show(line)

    async def problem(self, text: str) -> None:
        """Show a refusal."""
        await self.line("\n".join(lines.problem(text)))

    async def wait_gone(self) -> None:
        """Return when the client has disconnected."""
        await self._streams.wait_gone()


class Reception:
    """Runs receive-pack for one push whose slot is held."""

    def __init__(
        self, context: ReceiveContext, target: Repository, principal: Principal, streams: Streams
    ) -> None:
        self._context = context
        self._repository = target
        self._principal = principal
        self._streams = streams
        self._header = PushHeader(context.limits)
        self._ingesting = False
        self._cut_off = False
        self._deadline: asyncio.TimerHandle | None = None
        self._push: Push | None = None
        self._accepted = False
        self._ending = asyncio.Event()

    async def run(self) -> int:
        """Serve the push and return receive-pack's exit code, which is 0 even when every ref is refused.

        Raises:
            OSError: receive-pack cannot be started.
        """
        hook = await Hook.open()
        child = await self._spawn(hook)
        try:
            code = await self._until_cancelled(asyncio.create_task(self._converse(child, hook)))
            await self._linger(child)
        finally:
            await self._clean_up(child, hook)
        if code < 0:
            await self._say(f"git receive-pack was ended by signal {-code}.")
        return code if code >= 0 else 128 - code

    async def _spawn(self, hook: Hook) -> Child:
        limits = self._context.limits
        try:
            child = await Child.spawn(
                git.receive_pack(self._repository.path, self._context.hooks, limits),
                env=git.environment(self._streams.protocol),
                limits=git.resource_limits(limits),
                extra=hook.descriptors,
            )
        except BaseException:
            hook.close()
            raise
        hook.started()
        self._end_in(HEADER_SECONDS, child)
        return child

    def _end_in(self, seconds: float, child: Child) -> None:
        """Kill the child when its client does not come to the next phase: it holds the slot, and a place of the ingest."""
        self._stop_clock()
        self._deadline = asyncio.get_running_loop().call_later(seconds, child.kill)

    def _stop_clock(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()

    async def _until_cancelled(self, conversation: "asyncio.Task[int]") -> int:
        """When the server closes, a push that is being handled is refused in git's own words before it ends."""
        try:
            return await asyncio.shield(conversation)
        except asyncio.CancelledError:
            self._ending.set()
            await asyncio.wait({conversation}, timeout=_ENDING_SECONDS if self._push else 0)
            raise
        finally:
            await end(conversation)

    async def _converse(self, child: Child, hook: Hook) -> int:
        async with background(self._upstream(child)), background(self._answer(hook)):
            await asyncio.gather(
                pumps.output(child.stdout, self._streams, STALL_SECONDS),
                pumps.errors(child.stderr, self._streams, STALL_SECONDS),
            )
            return await child.wait()

    # From the client: everything goes to git; what comes before the pack is listened to.

    async def _upstream(self, child: Child) -> None:
        try:
            while data := await self._streams.read():
                if pack := self._header.feed(data):
                    if self._has_too_many_objects():
                        await self._cut_off_pack(child, data[: len(data) - pack])
                        return
                    await self._begin_ingest(child)
                await child.stdin.write(data)
        except BrokenPipeError:
            await self._discard_input()
        except (HeaderTooLongError, TimeoutError) as error:
            await self._say(
                "This push names too many refs." if isinstance(error, HeaderTooLongError) else "Too busy."
            )
            await child.end()
        finally:
            child.stdin.close()

    def _has_too_many_objects(self) -> bool:
        return (self._header.objects or 0) > self._context.limits.pack_objects

    async def _cut_off_pack(self, child: Child, before: bytes) -> None:
        """Spare git a pack that will not be taken: it reports one that ended early, we say why."""
        self._cut_off = True
        await self._say(
            f"This push has {self._header.objects} objects; a push may have {self._context.limits.pack_objects}.\n"
            "Push older commits first, in parts, or leave out history: git clone --depth=1."
        )
        await child.stdin.write(before)
        child.stdin.close()
        await self._discard_input()

    async def _discard_input(self) -> None:
        """A client shows what the server said only after it could send everything."""
        while await self._streams.read():
            pass

    async def _begin_ingest(self, child: Child) -> None:
        if self._ingesting:
            return
        if self._context.ingests.locked():
            await self._say("Waiting: other pushes are being received.")
        async with asyncio.timeout(INGEST_WAIT_SECONDS):
            await self._context.ingests.acquire()
        self._ingesting = True
        self._end_in(INGEST_SECONDS, child)

    def _end_ingest(self) -> None:
        self._stop_clock()
        if self._ingesting:
            self._ingesting = False
            self._context.ingests.release()

    # The hook: git has the objects in quarantine and asks.

    async def _answer(self, hook: Hook) -> None:
        client = PushClient(self._streams, hook)
        try:
            question = await hook.question()
            if question is None:
                return
            self._accepted = await self._judge(question, client)
            await hook.answer(accepted=self._accepted)
        except (HookError, BrokenPipeError):
            log.warning("a hook ended early", app=self._repository.app, exc_info=True)
            hook.close()

    async def _judge(self, question: Question, client: PushClient) -> bool:
        try:
            return await self._decide(question, client)
        except Refused as refusal:
            await client.problem(str(refusal))
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a push handler failed", app=self._repository.app)
            await client.problem(_FAILED)
        return False

    async def _decide(self, question: Question, client: PushClient) -> bool:
        refs = await policy.current(self._repository.path)
        policy.judge(self._header, question.updates, refs, self._context.limits)
        path = self._repository.path
        if not await connectivity.connected(path, question):
            raise Refused(connectivity.missing(question.updates))
        if other := await connectivity.not_commits(path, question):
            raise Refused(connectivity.no_commit(*other))
        self._end_ingest()
        push = Push(
            self._repository,
            self._principal,
            question.updates,
            tuple(self._header.options),
            question.quarantine,
            tuple(self._header.shallow),
        )
        await self._context.handler.check(push)
        self._push = push
        return await self._until_ending(self._received(push, client), client)

    async def _received(self, push: Push, client: PushClient) -> bool:
        return (await self._context.handler.received(push, client)).accepted

    async def _until_ending(self, work: Coroutine[Any, Any, bool], client: PushClient) -> bool:
        handler = asyncio.ensure_future(work)
        ending = asyncio.ensure_future(self._ending.wait())
        try:
            await asyncio.wait({handler, ending}, return_when=asyncio.FIRST_COMPLETED)
            if handler.done():
                return handler.result()
            await client.problem(_RESTARTING)
            return False
        finally:
            await end(ending)
            if not handler.done():
                await end(handler)

    # The end.

    async def _linger(self, child: Child) -> None:
        """A client that still sends would not show why git has refused its pack: let it finish, within limits."""
        if not (child.stdin.broken or self._cut_off) or self._streams.gone:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_SECONDS):
                await self._discard_input()

    async def _clean_up(self, child: Child, hook: Hook) -> None:
        code = await child.end()
        child.close()
        hook.close()
        self._end_ingest()
        if code < 0:  # killed, so git could not remove its quarantine; the slot says that it is ours
            await repository.sweep(self._repository.path, older_than=0)
        if self._push is not None:
            await self._finish(self._push)

    async def _finish(self, push: Push) -> None:
        try:
            moved = self._accepted and await _has_moved(push)
            await self._context.handler.finished(push, moved=moved)
        except Exception:
            log.exception("a push could not be finished", app=self._repository.app)

    async def _say(self, text: str) -> None:
        with suppress(ConnectionError):
            await self._streams.err("".join(f"{line}\n" for line in lines.problem(text)).encode())


async def _has_moved(push: Push) -> bool:
    refs = (await policy.current(push.repository.path)).ids
    return all(refs.get(update.ref, ZERO_ID) == update.new for update in push.updates)
