"""Unix sockets at paths of any length, owner-only, replaced in one step."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_BACKLOG = 64


@contextmanager
def short_path(path: Path) -> Iterator[str]:
    """Name `path` through its folder's descriptor: a socket address holds 107 bytes only (unix(7))."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def listen(path: Path) -> socket.socket:
    """Listen at `path`, mode 0600; a socket that was there is replaced in one rename, never missing."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        os.fchmod(listener.fileno(), 0o600)  # bind() takes the mode from here: no moment with a wider one
        fresh.unlink(missing_ok=True)
        with short_path(fresh) as name:
            listener.bind(name)
        listener.listen(_BACKLOG)
        fresh.rename(path)
    except BaseException:
        listener.close()
        raise
    return listener


def connect(path: Path) -> socket.socket:
    """Connect to the socket at `path`; a local connect completes or fails at once.

    Raises:
        OSError: nobody listens there.
    """
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        with short_path(path) as name:
            peer.connect(name)
    except BaseException:
        peer.close()
        raise
    return peer
