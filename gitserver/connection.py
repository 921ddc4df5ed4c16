"""The SSH library's connection, with the limits and the certainty about keys that it lacks."""

import asyncio
from collections import OrderedDict

import asyncssh
from asyncssh.packet import PacketDecodeError, SSHPacket
from asyncssh.public_key import decode_ssh_public_key

from gitserver import algorithms
from gitserver.ports import Limits
from gitserver.visitor import Visitor

_SIGNATURES = frozenset(name.encode() for name in algorithms.SIGNATURES)
_HOST_KEY_SIGNATURES = frozenset(name.encode() for name in algorithms.HOST_KEY_SIGNATURES)
_FREE_FAILURES = 1  # clients begin with the method "none" to learn which methods there are
_ATTEMPT_FACTOR = 3


class Connection(asyncssh.SSHServerConnection):
    """The library's connection with what it lacks: limits on tries, back-pressure, the key that was proved."""

    def __init__(
        self, options: asyncssh.SSHServerConnectionOptions, limits: Limits, visitor: Visitor
    ) -> None:
        super().__init__(asyncio.get_running_loop(), options)
        self._protocol_factory = lambda: visitor
        self._visitor = visitor
        self._tries = limits.auth_tries
        self._failures = 0
        self._attempts = 0
        self.congested = False
        self.proven: str | None = None
        """Fingerprint of the key whose signature was verified last; set nowhere else."""
        self._server_host_keys = OrderedDict(
            (name, key) for name, key in self._server_host_keys.items() if name in _HOST_KEY_SIGNATURES
        )
        self._server_host_key_algs = list(self._server_host_keys)

    @property
    def busy(self) -> bool:
        """Whether the client has not taken everything yet, or has a session open."""
        return not self.is_closed() and (self.congested or self._visitor.busy)

    async def reload_config(self) -> None:
        """Skip the library's second reading of its options: none depends on the user."""

    async def validate_public_key(self, username: str, key_data: bytes, msg: bytes, signature: bytes) -> bool:
        """Verify as the library does, then remember the proven key in the same step.

        A client may offer one key and prove another, or pipeline an offer behind a proof; only what was verified counts.
        """
        self._attempts += 1
        if self._attempts > self._tries * _ATTEMPT_FACTOR or (msg and not _is_modern(signature)):
            return False
        valid = await super().validate_public_key(username, key_data, msg, signature)
        if valid and msg:
            self.proven = decode_ssh_public_key(key_data).get_fingerprint()
        return valid

    def send_userauth_failure(self, partial_success: bool) -> None:
        """Count failures, whatever the method, and end the connection after a few."""
        self._failures += 1
        if self._failures > self._tries + _FREE_FAILURES or self._attempts > self._tries * _ATTEMPT_FACTOR:
            self.disconnect(asyncssh.DISC_NO_MORE_AUTH_METHODS_AVAILABLE, "Too many authentication failures")
            return
        super().send_userauth_failure(partial_success)

    def pause_writing(self) -> None:
        """The socket is full: a client may open a huge window and not read."""
        self.congested = True

    def resume_writing(self) -> None:
        """There is room in the socket again."""
        self.congested = False
        self._visitor.wake()


def _is_modern(signature: bytes) -> bool:
    try:
        return SSHPacket(signature).get_string() in _SIGNATURES
    except PacketDecodeError:
        return False
