"""The server's host keys: made once, kept for good, readable by the server's user alone."""

import asyncio
import contextlib
import os
import secrets
from pathlib import Path

import asyncssh

_KINDS: dict[str, tuple[str, int]] = {
    "ssh_host_ed25519_key": ("ssh-ed25519", 0),
    "ssh_host_ecdsa_key": ("ecdsa-sha2-nistp256", 0),
    "ssh_host_rsa_key": ("ssh-rsa", 3072),
}


async def host_keys(state: Path) -> list[asyncssh.SSHKey]:
    """Return the host keys kept in `state`, making those that are missing.

    Raises:
        OSError: the directory cannot be read or written.
        asyncssh.KeyImportError: a file there is no key; it is never replaced.
    """
    return await asyncio.to_thread(_host_keys, state)


def _host_keys(state: Path) -> list[asyncssh.SSHKey]:
    state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, (algorithm, bits) in _KINDS.items():
        if not (state / name).exists():
            _create(state / name, algorithm, bits)
    # Checking an RSA key again takes 0.1 s, and these are our own.
    return [
        asyncssh.import_private_key((state / name).read_bytes(), unsafe_skip_rsa_key_validation=True)
        for name in _KINDS
    ]


def _create(path: Path, algorithm: str, bits: int) -> None:
    key = (
        asyncssh.generate_private_key(algorithm, key_size=bits)
        if bits
        else asyncssh.generate_private_key(algorithm)
    )
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(key.export_private_key("openssh"))
            file.flush()
            os.fsync(file.fileno())
        # A link, unlike a rename, never replaces the key that another server has made meanwhile.
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink()
    _sync(path.parent)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
