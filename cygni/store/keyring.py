"""Encryption at rest: AES-256-GCM with keys from one file.

The file has one key a line, newest first: `KEY-ID BASE64`. The newest encrypts; older ones decrypt what they
made, so a key is rotated by putting a new line on top. The id is the start of the key's SHA-256, which makes a
damaged line visible before it damages anything.

A sealed value is: format (1 byte), key id (8), nonce (12), ciphertext and tag. The format, the key id and a
*context* (which value this is) are authenticated too, so a sealed value cannot be moved to another place.
"""

import base64
import binascii
import hashlib
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cygni.store.errors import DatabaseDamagedError, KeyFileError

FORMAT = b"\x01"
KEY_BYTES = 32
ID_BYTES = 8
NONCE_BYTES = 12
HEADER_BYTES = len(FORMAT) + ID_BYTES

_HEADING = (
    "# Keys of the values that Cygni keeps encrypted, newest first. Without them the values are lost.\n"
)


class Keyring:
    """Seals with the newest key, opens with the one that sealed."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._ciphers = {_key_id(key): AESGCM(key) for key in keys}
        self._newest = _key_id(keys[0])

    def seal(self, plain: str, context: str) -> bytes:
        """Encrypt; only the same context opens it again."""
        header = FORMAT + self._newest
        nonce = os.urandom(NONCE_BYTES)
        cipher = self._ciphers[self._newest]
        return header + nonce + cipher.encrypt(nonce, plain.encode(), header + context.encode())

    def open(self, sealed: bytes, context: str) -> str:
        """Decrypt.

        Raises:
            KeyFileError: when the key that sealed it is not in the file.
            DatabaseDamagedError: when the value was changed or moved.
        """
        header, rest = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
        if header[:1] != FORMAT:
            raise DatabaseDamagedError("A stored value has an unknown form.")
        cipher = self._ciphers.get(header[1:])
        if cipher is None:
            raise KeyFileError(f"The key {header[1:].decode(errors='replace')} is not in the key file.")
        try:
            plain = cipher.decrypt(rest[:NONCE_BYTES], rest[NONCE_BYTES:], header + context.encode())
        except (InvalidTag, ValueError) as error:
            raise DatabaseDamagedError("A stored value was changed or moved outside Cygni.") from error
        return plain.decode()


def load(path: Path) -> Keyring:
    """Read a key file.

    Raises:
        KeyFileError: with the file, the line and what to do; never with a key.
    """
    if path.stat().st_mode & 0o077:
        raise KeyFileError(f"{path} can be read by other users. Run: chmod 600 {path}")
    lines = path.read_bytes().decode(errors="replace").splitlines()
    keys = [
        _parse(path, number, line)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not keys:
        raise KeyFileError(f"{path} holds no key. Restore it from a backup.")
    return Keyring(keys)


def load_or_create(path: Path) -> Keyring:
    """Read a key file, made first if there is none. Two processes at once end up with the same one."""
    if not path.exists():
        _create(path)
    return load(path)


def new_line() -> str:
    """A line for a key file with a new key."""
    key = secrets.token_bytes(KEY_BYTES)
    return f"{_key_id(key).decode()} {base64.b64encode(key).decode()}\n"


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"cygni key id" + key).hexdigest()[:ID_BYTES].encode()


def _parse(path: Path, number: int, line: str) -> bytes:
    damaged = KeyFileError(
        f"{path} line {number} is not a key as it was written. Restore the file from a backup."
    )
    key_id, _, encoded = line.strip().partition(" ")
    try:
        key = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        raise damaged from None
    if len(key) != KEY_BYTES or _key_id(key) != key_id.encode():
        raise damaged
    return key


def _create(path: Path) -> None:
    """Write beside, then link: the file is there whole or not at all, and the first of two wins."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(_HEADING + new_line())
            file.flush()
            os.fsync(file.fileno())
        _link(beside, path)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be made: {error.strerror}.") from error
    finally:
        beside.unlink(missing_ok=True)


def _link(beside: Path, path: Path) -> None:
    try:
        path.hardlink_to(beside)
    except FileExistsError:
        return
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
