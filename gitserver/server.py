"""The front door itself: listens, admits, and closes without cutting off what runs."""

import asyncio
import logging
import socket
from contextlib import suppress
from weakref import WeakSet

import asyncssh
import structlog

from gitserver import algorithms, hook
from gitserver.admission import Admission
from gitserver.channel import MAX_PACKET, WINDOW, Streams
from gitserver.connection import Connection
from gitserver.git_service import GitService
from gitserver.greeter import Greeter
from gitserver.hostkeys import host_keys
from gitserver.keys import KeyCache
from gitserver.ports import CommandHandler, GitServerOptions, KeyStore, PushHandler
from gitserver.session import Sessions
from gitserver.visitor import FrontDoor, UnknownKeyHints, Visitor

BACKLOG = 128
KEEPALIVE_SECONDS = 15
KEEPALIVE_TRIES = 3
_ENDING_SECONDS = 20.0
_CLOSING_SECONDS = 5.0
_FLUSH_SECONDS = 2.0
_POLL_SECONDS = 0.02

log = structlog.get_logger()


class GitServer:
    """An SSH server for git and commands. Use: construct, `start`, `close`."""

    def __init__(
        self, options: GitServerOptions, keys: KeyStore, pushes: PushHandler, commands: CommandHandler
    ) -> None:
        self._options = options
        self._keys = KeyCache(keys)
        self._pushes = pushes
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._fingerprints: list[str] = []
        self._connections: set[Connection] = set()
        self._sessions: set[asyncio.Task[None]] = set()
        self._greeters: WeakSet[Greeter] = WeakSet()

    async def start(self, sock: socket.socket | None = None) -> None:
        """Listen on `sock`, or on the configured address; port 0 picks a free one.

        Raises:
            OSError: the address is taken, or the state directory cannot be written.
            asyncssh.KeyImportError: a kept host key cannot be read.
        """
        # At INFO the library logs every command line, at DEBUG every variable: both may hold secrets.
        logging.getLogger("asyncssh").setLevel(logging.WARNING)
        host = await host_keys(self._options.state)
        self._fingerprints = [key.get_fingerprint() for key in host]
        hooks = await asyncio.to_thread(hook.install, self._options.state)
        sessions = Sessions(self._keys, GitService(self._pushes, self._options.limits, hooks), self._commands)
        door = self._door(sessions)
        options = self._ssh_options(host)
        loop = asyncio.get_running_loop()

        def greet() -> Greeter:
            greeter = Greeter(door, options, self._opened)
            self._greeters.add(greeter)
            return greeter

        if sock is not None:
            self._server = await loop.create_server(greet, sock=sock, backlog=BACKLOG)
        else:
            self._server = await loop.create_server(
                greet, self._options.host, self._options.port, backlog=BACKLOG
            )
        log.info("git server listens", port=self.port, fingerprints=self._fingerprints)

    def _door(self, sessions: Sessions) -> FrontDoor:
        limits = self._options.limits

        def serve(visitor: Visitor, streams: Streams) -> None:
            task = asyncio.create_task(sessions.serve(visitor, streams))
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)

        return FrontDoor(
            self._options.username, limits, self._keys, Admission(limits), UnknownKeyHints(), serve
        )

    def _ssh_options(self, host: list[asyncssh.SSHKey]) -> asyncssh.SSHServerConnectionOptions:
        return asyncssh.SSHServerConnectionOptions(
            config=None,
            server_host_keys=host,
            send_server_host_keys=True,
            server_version="Cygni",
            kex_algs=list(algorithms.KEY_EXCHANGE),
            encryption_algs=list(algorithms.ciphers(legacy=self._options.legacy_ciphers)),
            mac_algs=list(algorithms.MACS),
            signature_algs=list(algorithms.SIGNATURES),
            compression_algs=["none"],
            login_timeout=self._options.limits.login_seconds,
            keepalive_interval=KEEPALIVE_SECONDS,
            keepalive_count_max=KEEPALIVE_TRIES,
            public_key_auth=True,
            password_auth=False,
            kbdint_auth=False,
            host_based_auth=False,
            gss_host=None,
            gss_kex=False,
            gss_auth=False,
            agent_forwarding=False,
            x11_forwarding=False,
            sftp_factory=None,
            allow_scp=False,
            line_editor=False,
            encoding=None,
            window=WINDOW,
            max_pktsize=MAX_PACKET,
        )

    def _opened(self, connection: Connection) -> None:
        self._connections = {known for known in self._connections if not known.is_closed()}
        self._connections.add(connection)

    @property
    def port(self) -> int:
        """The port that is listened on."""
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    @property
    def host_key_fingerprints(self) -> list[str]:
        """The host keys' `SHA256:…` fingerprints: ed25519, ecdsa, rsa."""
        return list(self._fingerprints)

    async def close(self, grace: float) -> None:
        """Stop accepting at once, let sessions run for `grace` seconds, then end them and every connection.

        A push whose handler still runs is refused with a sentence, so its refs do not move.
        """
        if self._server is None:
            return
        self._server.close()
        for greeter in list(self._greeters):
            greeter.close()
        await self._settle(grace)
        for task in list(self._sessions):
            task.cancel()
        await self._settle(_ENDING_SECONDS)
        await self._flush()
        await self._disconnect()
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self._server.wait_closed()

    async def _settle(self, seconds: float) -> None:
        if self._sessions and seconds > 0:
            await asyncio.wait(set(self._sessions), timeout=seconds)

    async def _flush(self) -> None:
        """Let clients take their exit codes: closing a connection drops what is still on the way."""
        deadline = asyncio.get_running_loop().time() + _FLUSH_SECONDS
        while any(connection.busy for connection in self._connections):
            if asyncio.get_running_loop().time() > deadline:
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _disconnect(self) -> None:
        for connection in self._connections:
            connection.close()
        waits = [asyncio.ensure_future(connection.wait_closed()) for connection in self._connections]
        if waits:
            await asyncio.wait(waits, timeout=_CLOSING_SECONDS)
