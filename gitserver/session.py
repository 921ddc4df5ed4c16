"""What each session is given: git, a command, or a friendly word; and always an exit code."""

import asyncio
from contextlib import suppress
from dataclasses import replace

import structlog

from gitserver import lines, pktline, requests
from gitserver.channel import Streams
from gitserver.git_service import GitService
from gitserver.keys import KeyCache
from gitserver.ports import CommandHandler, Principal, Refused, Terminal
from gitserver.requests import CommandRequest, GitRequest, Unsupported
from gitserver.tasks import end
from gitserver.visitor import Visitor

_FAILED = "Something went wrong on the server; its log says what. Please try again."
_REVOKED = "This key is no longer accepted here."
_RESTARTING = "The server is restarting. Please try again."
_CANCELLED_CODE = 130

log = structlog.get_logger()


class CommandSession:
    """The ends of one command, as its handler sees them."""

    def __init__(self, streams: Streams, principal: Principal, command: str) -> None:
        self._streams = streams
        self._principal = principal
        self._command = command

    @property
    def principal(self) -> Principal:
        """Who runs the command."""
        return self._principal

    @property
    def command(self) -> str:
        """The command line as the client sent it."""
        return self._command

    @property
    def terminal(self) -> Terminal | None:
        """The client's terminal as it is now, None without one."""
        return self._streams.terminal.current

    def take_terminal(self) -> Terminal | None:
        """Get every byte as it is from now on; without it, lines and Ctrl-C are taken care of."""
        return self._streams.terminal.take()

    async def resized(self) -> Terminal:
        """Return the terminal after its next change of size."""
        return await self._streams.terminal.resized()

    async def signalled(self) -> str:
        """Return the name, without `SIG`, of the next signal that the client sends."""
        return await self._streams.terminal.signalled()

    async def read(self, limit: int) -> bytes:
        """Return up to `limit` bytes of standard input, empty at its end."""
        return await self._streams.read(limit)

    async def out(self, data: bytes) -> None:
        """Write to standard output. Raises ConnectionError when the client is gone."""
        await self._streams.out(data)

    async def err(self, data: bytes) -> None:
        """Write to standard error. Raises ConnectionError when the client is gone."""
        await self._streams.err(data)

    async def wait_gone(self) -> None:
        """Return when the client has disconnected."""
        await self._streams.wait_gone()


class Sessions:
    """Serves sessions. The owner of a key is looked up again for each, so a revoked key stops at once."""

    def __init__(self, keys: KeyCache, git: GitService, commands: CommandHandler) -> None:
        self._keys = keys
        self._git = git
        self._commands = commands

    async def serve(self, visitor: Visitor, streams: Streams) -> None:
        """Serve one session to its exit code."""
        code = 1
        try:
            code = await self._serve(visitor, streams)
        except asyncio.CancelledError:
            await self._say(streams, _RESTARTING)
            raise
        except ConnectionError:
            log.info("the client left", program=_program(streams))
        except Exception:
            log.exception("a session failed", program=_program(streams))
            await self._say(streams, _FAILED)
        finally:
            streams.exit(code)

    async def _serve(self, visitor: Visitor, streams: Streams) -> int:
        request = self._request(streams)
        principal = await self._principal(visitor)
        if principal is None:
            request = Unsupported(_REVOKED, git=isinstance(request, GitRequest))
            return await self._decline(streams, request)
        if isinstance(request, GitRequest):
            streams.terminal.take()
            return await self._git.serve(request, streams, principal)
        if isinstance(request, CommandRequest):
            return await self._run(CommandSession(streams, principal, request.command), streams)
        if streams.command is None and streams.subsystem is None:
            request = Unsupported(requests.no_shell(principal.name))
        return await self._decline(streams, request)

    async def _principal(self, visitor: Visitor) -> Principal | None:
        if visitor.fingerprint is None:
            return None
        found = await self._keys.fresh(visitor.fingerprint)
        return replace(found, key=visitor.fingerprint, address=visitor.address) if found else None

    def _request(self, streams: Streams) -> requests.Request:
        if streams.subsystem is not None:
            return Unsupported(requests.no_subsystem(streams.subsystem))
        if not streams.command:
            return Unsupported(requests.no_shell("there"))
        if len(streams.command) > requests.MAX_COMMAND:
            return Unsupported(f"A command line may have {requests.MAX_COMMAND} bytes.")
        return requests.parse(streams.command)

    async def _decline(self, streams: Streams, request: Unsupported) -> int:
        if request.git:
            await streams.out(pktline.error(request.text))
        else:
            await self._say(streams, request.text)
        return 1

    async def _run(self, session: CommandSession, streams: Streams) -> int:
        """Run a command; a client that leaves, or types Ctrl-C at one that left it the terminal, ends it."""
        command = asyncio.ensure_future(self._commands.run(session))
        gone = asyncio.ensure_future(streams.wait_gone())
        interrupted = asyncio.ensure_future(streams.terminal.interrupted.wait())
        try:
            await asyncio.wait({command, gone, interrupted}, return_when=asyncio.FIRST_COMPLETED)
            if not command.done():
                return _CANCELLED_CODE
            return command.result()
        except Refused as refusal:
            await self._say(streams, str(refusal))
            return 1
        finally:
            await end(gone)
            await end(interrupted)
            if not command.done():
                await end(command)

    async def _say(self, streams: Streams, text: str) -> None:
        with suppress(ConnectionError):
            await streams.err("".join(f"{line}\n" for line in lines.problem(text)).encode())


def _program(streams: Streams) -> str:
    """The command's first word: what follows may be secret."""
    return (streams.command or streams.subsystem or "shell").split(None, 1)[0][:64]
