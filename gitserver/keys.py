"""Public keys: which are good enough, what they are called, and whose they are."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh
from cryptography.hazmat.primitives.asymmetric import rsa

from gitserver.ports import KeyStore, Principal

KEY_ALGORITHMS = frozenset(
    {
        "ssh-ed25519",
        "ecdsa-sha2-nistp256",
        "ecdsa-sha2-nistp384",
        "ecdsa-sha2-nistp521",
        "sk-ssh-ed25519@openssh.com",
        "sk-ecdsa-sha2-nistp256@openssh.com",
        "ssh-rsa",  # the key's type; its SHA-1 signatures are refused
    }
)
MIN_RSA_BITS = 2048
GOOD_RSA_BITS = 3072
MAX_KEY_TEXT = 16_384
_LOOKUP_SECONDS = 10.0


class KeyError_(Exception):  # noqa: N801, N818 - KeyError is Python's
    """Raised for a text that is no public key, or for a key that is too weak; the text says which."""


@dataclass(frozen=True)
class PublicKey:
    """A public key in OpenSSH's one-line form (type and blob, no comment) and its `SHA256:…` fingerprint."""

    public: str
    fingerprint: str
    comment: str


def parse_public_key(text: str) -> PublicKey:
    """Read one line of `id_*.pub` or `authorized_keys` without options.

    Raises:
        KeyError_: not a public key, a private key, several keys, or a type or size that is refused.
    """
    line = _only_line(text)
    try:
        key = asyncssh.import_public_key(line)
    except asyncssh.KeyImportError:
        raise KeyError_("that is not a public key in OpenSSH's format (ssh-ed25519 AAAA…)") from None
    if problem := weakness(key):
        raise KeyError_(problem)
    words = line.split(None, 2)
    return PublicKey(" ".join(words[:2]), key.get_fingerprint(), words[2] if len(words) > 2 else "")


def _only_line(text: str) -> str:
    if "PRIVATE KEY" in text:
        raise KeyError_("that is a private key: keep it to yourself and send the .pub file")
    lines = [line.strip() for line in text[:MAX_KEY_TEXT].splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    if len(lines) != 1:
        raise KeyError_(f"one public key is expected, on one line; there are {len(lines)} lines")
    if lines[0].split()[0] not in KEY_ALGORITHMS:
        raise KeyError_(
            f"keys of type {lines[0].split()[0]} are not accepted; make one with ssh-keygen -t ed25519"
        )
    return lines[0]


def weakness(key: asyncssh.SSHKey) -> str | None:
    """Return why a key is refused, None for a good one."""
    if key.get_algorithm() not in KEY_ALGORITHMS:
        return f"keys of type {key.get_algorithm()} are not accepted; make one with ssh-keygen -t ed25519"
    if (bits := rsa_bits(key)) is not None and bits < MIN_RSA_BITS:
        return (
            f"this RSA key has {bits} bits; at least {MIN_RSA_BITS} are needed, or use ssh-keygen -t ed25519"
        )
    return None


def rsa_bits(key: asyncssh.SSHKey) -> int | None:
    """Return the size of an RSA key, None for other types."""
    public = key.pyca_key
    return public.key_size if isinstance(public, rsa.RSAPublicKey) else None


class KeyCache:
    """Asks a KeyStore, and remembers who owned a key for `seconds`: a login asks twice.

    Unknown keys are not remembered, so a key that was just added works at once.
    """

    def __init__(
        self,
        store: KeyStore,
        seconds: float = 30,
        size: int = 1024,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._seconds = seconds
        self._size = size
        self._clock = clock
        self._known: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    async def principal(self, fingerprint: str) -> Principal | None:
        """Return who owns the key, from memory if asked a moment ago."""
        if (known := self._known.get(fingerprint)) and self._clock() < known[0]:
            return known[1]
        return await self.fresh(fingerprint)

    async def fresh(self, fingerprint: str) -> Principal | None:
        """Return who owns the key now: a revoked one is noticed at the next command.

        Raises:
            TimeoutError: the store did not answer.
        """
        self._known.pop(fingerprint, None)
        async with asyncio.timeout(_LOOKUP_SECONDS):
            principal = await self._store.principal(fingerprint)
        if principal is not None:
            self._remember(fingerprint, principal)
        return principal

    def _remember(self, fingerprint: str, principal: Principal) -> None:
        self._known[fingerprint] = (self._clock() + self._seconds, principal)
        if len(self._known) > self._size:
            self._known.popitem(last=False)
