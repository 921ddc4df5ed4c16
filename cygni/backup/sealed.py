"""An encrypted stream in a file: scrypt and AES-256-GCM in chunks, so that any size needs little memory.

    magic (8)  log2 of scrypt's n (1)  r (1)  p (1)  salt (16)  nonce prefix (7)  check (32)
    chunk, chunk, …, last chunk

All but the last chunk seal 65,536 bytes, the last one fewer or none; each ends with a tag of 16 bytes. A chunk's
nonce is the prefix, its number (4, big-endian) and 1 for the last one or 0, its associated data the header up to
the check: chunks cannot be changed, reordered, dropped or taken from another file, and a missing end is noticed.
scrypt gives 64 bytes: the key of the chunks, and the key of the check, an HMAC-SHA256 of the header's start, which tells
a wrong passphrase from damage.
"""

import hmac
import io
import os
import struct
from typing import TYPE_CHECKING, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from cygni.backup import messages
from cygni.backup.errors import BackupError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

FAMILY = b"CYGNIBK"
MAGIC = FAMILY + b"1"
CHUNK = 1 << 16
TAG = 16
LOG_N, R, P = 15, 8, 1
"""32 MiB and a tenth of a second for each guess."""
_START = struct.Struct(">8sBBB16s7s")
_CHECK = 32


class SealingWriter(io.RawIOBase):
    """Encrypts what is written into `file`, which stays open. What is not closed is not whole."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        self._file = file
        self._prefix = os.urandom(7)
        self._header = _START.pack(MAGIC, LOG_N, R, P, os.urandom(16), self._prefix)
        key, check = _keys(passphrase, self._header)
        self._cipher = AESGCM(key)
        self._number = 0
        self._waiting = bytearray()
        file.write(self._header + check)

    def writable(self) -> bool:
        """It is for writing."""
        return True

    def write(self, data: "ReadableBuffer") -> int:
        """Encrypt and write every full chunk. One is held back, for it may be the last."""
        size = len(memoryview(data).cast("B"))
        self._waiting += data
        while len(self._waiting) > CHUNK:
            self._seal(bytes(self._waiting[:CHUNK]), last=False)
            del self._waiting[:CHUNK]
        return size

    def close(self) -> None:
        """Write the last chunk."""
        if not self.closed:
            if len(self._waiting) == CHUNK:  # the last one is always shorter
                self._seal(bytes(self._waiting), last=False)
                self._waiting.clear()
            self._seal(bytes(self._waiting), last=True)
        super().close()

    def _seal(self, plain: bytes, *, last: bool) -> None:
        nonce = _nonce(self._prefix, self._number, last=last)
        self._file.write(self._cipher.encrypt(nonce, plain, self._header))
        self._number += 1


class OpeningReader(io.RawIOBase):
    """Decrypts `file`. Nothing is given out that was not authenticated; `name` is for messages."""

    def __init__(self, file: BinaryIO, passphrase: str, name: object) -> None:
        self._file = file
        self._name = name
        self._header = file.read(_START.size)
        self._prefix = self._parse()
        check = file.read(_CHECK)
        key, wanted = _keys(passphrase, self._header)
        if len(check) < _CHECK:
            raise BackupError(messages.truncated(name))
        if not hmac.compare_digest(check, wanted):
            raise BackupError(messages.wrong_passphrase(name))
        self._cipher = AESGCM(key)
        self._number = 0
        self._plain = b""
        self._ended = False

    def readable(self) -> bool:
        """It is for reading."""
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        """Fill the buffer from the next chunk; 0 after the last one."""
        while not self._plain and not self._ended:
            self._open_next()
        view = memoryview(buffer).cast("B")
        size = min(len(view), len(self._plain))
        view[:size] = self._plain[:size]
        self._plain = self._plain[size:]
        return size

    def _parse(self) -> bytes:
        if not self._header.startswith(FAMILY):
            raise BackupError(messages.not_a_backup(self._name))
        if len(self._header) < _START.size:
            raise BackupError(messages.truncated(self._name))
        magic, log_n, r, p, _, prefix = _START.unpack(self._header)
        # Other costs would be a later version's; taken from the file unseen, they could ask for any memory.
        if magic != MAGIC or (log_n, r, p) != (LOG_N, R, P):
            raise BackupError(messages.newer_format(self._name))
        assert isinstance(prefix, bytes)
        return prefix

    def _open_next(self) -> None:
        position = self._file.tell()
        sealed = self._file.read(CHUNK + TAG)
        last = len(sealed) < CHUNK + TAG
        if len(sealed) < TAG:
            raise BackupError(messages.truncated(self._name))
        try:
            self._plain = self._cipher.decrypt(
                _nonce(self._prefix, self._number, last=last), sealed, self._header
            )
        except InvalidTag:
            # A short chunk that is not the last one is what a cut leaves; so is a damaged last one.
            text = messages.truncated(self._name) if last else messages.damaged(self._name, position)
            raise BackupError(text) from None
        self._ended = last
        self._number += 1
        if last and self._file.read(1):
            raise BackupError(messages.damaged(self._name, position))


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + struct.pack(">IB", number, last)


def _keys(passphrase: str, header: bytes) -> tuple[bytes, bytes]:
    """The key of the chunks, and what the header's check must be."""
    _, log_n, r, p, salt, _ = _START.unpack(header)
    both = Scrypt(salt=salt, length=64, n=1 << log_n, r=r, p=p).derive(passphrase.encode())
    return both[:32], hmac.digest(both[32:], header, "sha256")
