"""One SSH session channel: a bounded byte stream in, two out, and an exit code.

Flow control. asyncssh tops the peer's window up whenever a packet reaches the session, however much is still
unread. So reading goes on only when everything has been taken: at most `WINDOW` is here, one more in asyncssh and one
more on the way, whatever the size of the reads.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import asyncssh

from gitserver.git import is_protocol
from gitserver.ports import Limits
from gitserver.terminal import TerminalState

if TYPE_CHECKING:
    from asyncssh.packet import SSHPacket

WINDOW = 1 << 20
READ_BYTES = 4 << 20
MAX_PACKET = 32_768
_FLOOD_FACTOR = 10


class SessionChannel(asyncssh.SSHServerChannel[bytes]):
    """A session channel that keeps one environment variable of the client's and forwards nothing."""

    def __init__(self, connection: asyncssh.SSHServerConnection, limits: Limits) -> None:
        super().__init__(
            connection,
            asyncio.get_running_loop(),
            allow_pty=True,
            line_editor=False,
            line_echo=False,
            line_history=0,
            max_line_length=1024,
            encoding=None,
            errors="strict",
            window=WINDOW,
            max_pktsize=MAX_PACKET,
        )
        self._limits = limits
        self._environment_requests = 0
        self.protocol: str | None = None

    def _process_env_request(self, packet: "SSHPacket") -> bool:
        name, value = packet.get_string(), packet.get_string()
        packet.check_end()
        self._environment_requests += 1
        if self._environment_requests > self._limits.environment_requests * _FLOOD_FACTOR:
            raise asyncssh.ProtocolError("Too many environment variables")
        if (
            name != b"GIT_PROTOCOL"
            or len(value) > self._limits.environment_bytes
            or self._environment_requests > self._limits.environment_requests
        ):
            return False
        text = value.decode(errors="replace")
        self.protocol = text if is_protocol(text) else None
        return self.protocol is not None

    def _process_x11_req_request(self, packet: "SSHPacket") -> bool:
        del packet
        return False

    def _process_auth_agent_req_at_openssh_dot_com_request(self, packet: "SSHPacket") -> bool:  # type: ignore[override]
        del packet
        return False


class Streams(asyncssh.SSHServerSession[bytes]):
    """The client's end of a session, for coroutines. `started` is called once when the client has said what it wants.

    Afterwards `command` is its command line, or `subsystem` the subsystem it wants; neither is a shell.
    """

    def __init__(self, started: Callable[["Streams"], None], congested: Callable[[], bool]) -> None:
        self._started = started
        self._congested = congested
        self._channel: SessionChannel | None = None
        self._received: deque[bytes] = deque()
        self._received_bytes = 0
        self._paused_reading = False
        self._paused_writing = False
        self._eof = False
        self._gone = asyncio.Event()
        self._changed = asyncio.Event()
        self.command: str | None = None
        self.subsystem: str | None = None
        self.terminal = TerminalState()

    # What asyncssh calls.

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        """The channel is open."""
        assert isinstance(chan, SessionChannel)
        self._channel = chan

    def pty_requested(self, term_type: str, term_size: tuple[int, int, int, int], term_modes: Any) -> bool:
        """Grant a terminal; what it is for is not known yet, see `gitserver.terminal`."""
        del term_modes  # the process behind has a terminal of its own, with modes of its own
        self.terminal.grant(term_type, term_size[0], term_size[1])
        return True

    def terminal_size_changed(self, width: int, height: int, pixwidth: int, pixheight: int) -> None:
        """The client's window has another size."""
        del pixwidth, pixheight
        self.terminal.resize(width, height)

    def shell_requested(self) -> bool:
        """Take the request; it gets a friendly answer."""
        return True

    def exec_requested(self, command: str) -> bool:
        """Take the command."""
        self.command = command
        return True

    def subsystem_requested(self, subsystem: str) -> bool:
        """Take the request; it gets a friendly answer."""
        self.subsystem = subsystem
        return True

    def session_started(self) -> None:
        """The client was told that its request is accepted."""
        self._started(self)

    def signal_received(self, signal: str) -> None:
        """Keep it for a command that passes signals on; OpenSSH's client sends none, libraries do."""
        self.terminal.signal(signal)

    def break_received(self, msec: int) -> bool:
        """Refuse a break."""
        del msec
        return False

    def data_received(self, data: bytes, datatype: int | None) -> None:
        """Keep data until it is read; stop reading at a full window."""
        del datatype
        if self._eof:
            return
        data, self._eof = self.terminal.typed(data)
        self._received.append(data)
        self._received_bytes += len(data)
        if self._received_bytes >= WINDOW and self._channel is not None and not self._paused_reading:
            self._paused_reading = True
            self._channel.pause_reading()
        self._wake()

    def eof_received(self) -> bool:
        """The client will send no more; our side stays open."""
        self._eof = True
        self._wake()
        return True

    def pause_writing(self) -> None:
        """The client does not keep up."""
        self._paused_writing = True

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._paused_writing = False
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """The channel is closed, by either side or with the connection."""
        del exc
        self._eof = True
        self._gone.set()
        self._wake()

    # What the services call.

    @property
    def protocol(self) -> str | None:
        """The client's `GIT_PROTOCOL`, checked."""
        return self._channel.protocol if self._channel else None

    @property
    def gone(self) -> bool:
        """Whether the client has disconnected."""
        return self._gone.is_set()

    async def wait_gone(self) -> None:
        """Return when the client has disconnected."""
        await self._gone.wait()

    async def read(self, limit: int = READ_BYTES) -> bytes:
        """Return up to `limit` bytes that the client sent, empty at the end or when it is gone."""
        while not self._received and not self._eof:
            await self._change()
        data = self._take(limit)
        if self._paused_reading and not self._received and self._channel is not None:
            self._paused_reading = False
            self._channel.resume_reading()
        return data

    def _take(self, limit: int) -> bytes:
        if self._received_bytes <= limit:
            data = b"".join(self._received)
            self._received.clear()
        else:
            first = self._received.popleft()
            data = first[:limit]
            if len(first) > limit:
                self._received.appendleft(first[limit:])
        self._received_bytes -= len(data)
        return data

    async def out(self, data: bytes) -> None:
        """Write to standard output.

        Raises:
            ConnectionError: the client is gone.
        """
        await self._write(data, None)

    async def err(self, data: bytes) -> None:
        """Write to standard error.

        Raises:
            ConnectionError: the client is gone.
        """
        await self._write(data, asyncssh.EXTENDED_DATA_STDERR)

    async def _write(self, data: bytes, kind: int | None) -> None:
        if self.gone or self._channel is None or self._channel.is_closing():
            raise ConnectionResetError("the client is gone")
        self._channel.write(self.terminal.shown(data), kind)
        await self.drain()

    async def drain(self) -> None:
        """Wait until the client keeps up.

        Raises:
            ConnectionError: the client is gone.
        """
        while self._paused_writing or self._congested():
            if self.gone:
                raise ConnectionResetError("the client is gone")
            await self._change()

    def exit(self, code: int) -> None:
        """Send the exit code and close the channel after what was written."""
        if self._channel is not None and not self.gone:
            self._channel.exit(code)

    def abort(self) -> None:
        """Close the channel now."""
        if self._channel is not None:
            self._channel.abort()

    def wake(self) -> None:
        """Look again at the connection's back-pressure."""
        self._wake()

    def _wake(self) -> None:
        self._changed.set()

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
