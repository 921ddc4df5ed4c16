"""Who is at the door: one connection's key, sessions and wishes."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import asyncssh
import structlog

from gitserver.admission import Admission, Ticket
from gitserver.channel import SessionChannel, Streams
from gitserver.keys import GOOD_RSA_BITS, KeyCache, rsa_bits, weakness
from gitserver.ports import Limits, Principal

if TYPE_CHECKING:
    from gitserver.connection import Connection

GIT_USERNAME = "git"
_NO_FORWARDING = "Forwarding is not offered here"
_HARMLESS_KEYS = 1024

log = structlog.get_logger()


@dataclass(frozen=True)
class FrontDoor:
    """What all connections share."""

    username: str
    limits: Limits
    keys: KeyCache
    admission: Admission
    hints: "UnknownKeyHints"
    serve: Callable[["Visitor", Streams], None]
    """Called for each session when the client has said what it wants."""


class UnknownKeyHints:
    """Decides which unknown keys are worth a word to the person: not those whose owner got in with another key."""

    def __init__(self) -> None:
        self._harmless: OrderedDict[str, None] = OrderedDict()

    def worth(self, fingerprint: str) -> bool:
        """Whether to tell the client that this key is not known."""
        return fingerprint not in self._harmless

    def forgive(self, fingerprints: list[str]) -> None:
        """The owner of these unknown keys has logged in with another one."""
        for fingerprint in fingerprints:
            self._harmless[fingerprint] = None
            self._harmless.move_to_end(fingerprint)
        while len(self._harmless) > _HARMLESS_KEYS:
            self._harmless.popitem(last=False)


class Visitor(asyncssh.SSHServer):
    """Answers the SSH library's questions about one connection."""

    def __init__(self, door: FrontDoor, ticket: Ticket) -> None:
        self._door = door
        self._ticket = ticket
        self._unknown: list[str] = []
        self._counted = False
        self._sessions: set[Streams] = set()
        self.connection: Connection | None = None
        self.fingerprint: str | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        """The connection is up, before any key exchange."""
        self.connection = cast("Connection", conn)

    @property
    def address(self) -> str:
        """Where the client is, as far as the socket knows."""
        peer = self.connection.get_extra_info("peername") if self.connection else None
        return str(peer[0]) if peer else ""

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, for whatever reason."""
        del exc
        self._ticket.release(failed=self.fingerprint is None)
        if self._counted and self.fingerprint is not None:
            self._door.admission.logout(self.fingerprint)

    # Authentication: keys only; every user name and every key is asked the same questions.

    def begin_auth(self, username: str) -> bool:
        """Demand authentication, always: anything falsy would let the client in."""
        del username
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys are the only way in."""
        return True

    async def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        """Whether this key may log in, if the client then proves that it has it."""
        fingerprint = key.get_fingerprint()
        principal = await self._lookup(fingerprint)
        known_user = username in {self._door.username, GIT_USERNAME}
        problem = weakness(key)
        if principal is not None and known_user and problem is None:
            self._warn_of_size(key, principal)
            return True
        log.info("login refused", user=username[:64], key=fingerprint, weak=problem)
        self._hint(fingerprint)
        return False

    async def _lookup(self, fingerprint: str) -> Principal | None:
        try:
            return await self._door.keys.principal(fingerprint)
        except Exception:
            log.exception("the key store failed", key=fingerprint)
            return None

    def _warn_of_size(self, key: asyncssh.SSHKey, principal: Principal) -> None:
        if (bits := rsa_bits(key)) is not None and bits < GOOD_RSA_BITS:
            log.warning("a short RSA key is in use", bits=bits, user=principal.name)

    def _hint(self, fingerprint: str) -> None:
        """Tell the person once; the text is the same for an unknown user, an unknown key and a refused type."""
        first = not self._unknown
        self._unknown.append(fingerprint)
        if first and self.connection is not None and self._door.hints.worth(fingerprint):
            self.connection.send_auth_banner(
                f"The key {fingerprint} is not accepted here.\r\n"
                "Send its public half (the .pub file) to whoever runs this server,"
                " who can add it with keys:add, or offer another key.\r\n"
            )

    def auth_completed(self) -> None:
        """The client has proved a key: count its connections."""
        assert self.connection is not None
        assert self.connection.proven is not None
        self.fingerprint = self.connection.proven
        self._ticket.release(failed=False)
        self._door.hints.forgive(self._unknown)
        self._counted = self._door.admission.login(self.fingerprint)
        if not self._counted:
            self.connection.disconnect(
                asyncssh.DISC_TOO_MANY_CONNECTIONS, "Too many connections with this key"
            )

    # Sessions.

    def session_requested(self) -> tuple[SessionChannel, Streams]:
        """Open a session, unless the connection has many.

        Raises:
            asyncssh.ChannelOpenError: too many sessions.
        """
        assert self.connection is not None
        self._sessions = {session for session in self._sessions if not session.gone}
        if len(self._sessions) >= self._door.limits.sessions_per_connection:
            raise asyncssh.ChannelOpenError(
                asyncssh.OPEN_RESOURCE_SHORTAGE, "Too many sessions on this connection"
            )
        connection = self.connection
        streams = Streams(lambda session: self._door.serve(self, session), lambda: connection.congested)
        self._sessions.add(streams)
        return SessionChannel(connection, self._door.limits), streams

    @property
    def busy(self) -> bool:
        """Whether a session has not been closed by both sides yet."""
        return any(not session.gone for session in self._sessions)

    def wake(self) -> None:
        """The connection's back-pressure has changed."""
        for session in self._sessions:
            session.wake()

    # Forwarding: refused, with a sentence where SSH has room for one.

    def connection_requested(self, *_: Any) -> bool:
        """Refuse `ssh -L`, `-W` and `-D`.

        Raises:
            asyncssh.ChannelOpenError: always.
        """
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, _NO_FORWARDING)

    def unix_connection_requested(self, *_: Any) -> bool:
        """Refuse forwarding to a socket.

        Raises:
            asyncssh.ChannelOpenError: always.
        """
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, _NO_FORWARDING)

    def server_requested(self, *_: Any) -> bool:
        """Refuse `ssh -R`."""
        return False

    def unix_server_requested(self, *_: Any) -> bool:
        """Refuse `ssh -R` of a socket."""
        return False

    def tun_requested(self, *_: Any) -> bool:
        """Refuse a layer-3 tunnel.

        Raises:
            asyncssh.ChannelOpenError: always.
        """
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, _NO_FORWARDING)

    def tap_requested(self, *_: Any) -> bool:
        """Refuse a layer-2 tunnel.

        Raises:
            asyncssh.ChannelOpenError: always.
        """
        raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, _NO_FORWARDING)
