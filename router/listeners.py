"""Listening sockets: taken from systemd (sd_listen_fds(3)) or opened here, then inherited by every worker."""

import contextlib
import os
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass
from itertools import zip_longest

from router.errors import RouterUnavailableError

_FIRST_DESCRIPTOR = 3
_BACKLOG = 4_096


@dataclass(frozen=True)
class Listeners:
    """What clients connect to."""

    http: list[socket.socket]
    https: list[socket.socket]

    @property
    def http_port(self) -> int:
        """The port of plain HTTP; 0 for none."""
        return port_of(self.http[0]) if self.http else 0

    @property
    def https_port(self) -> int:
        """The port of HTTP over TLS; 0 for none."""
        return port_of(self.https[0]) if self.https else 0

    def close(self) -> None:
        """Stop listening in this process."""
        for item in (*self.http, *self.https):
            item.close()


def obtain(bind: str, port: int, https_port: int | None, environment: MutableMapping[str, str]) -> Listeners:
    """Return systemd's sockets where `environment` names them, else open `bind` with these ports.

    Raises:
        RouterUnavailableError: the address is in use, unknown or not ours.
    """
    found = inherited(environment)
    if found is not None:
        return found
    plain = opened(bind, port)
    try:
        return Listeners(plain, [] if https_port is None else opened(bind, https_port))
    except RouterUnavailableError:
        for item in plain:
            item.close()
        raise


def inherited(environment: MutableMapping[str, str]) -> Listeners | None:
    """Take over descriptors passed by a service manager; the variables are removed, as the protocol asks."""
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "0")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit() or count == "0":
        return None
    sockets = [
        socket.socket(fileno=number) for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))
    ]
    for item in sockets:
        item.setblocking(False)
        item.set_inheritable(False)
    tls = [name == "https" for name, _ in zip_longest(names[: len(sockets)], sockets)]
    return Listeners(
        [item for item, encrypted in zip(sockets, tls, strict=True) if not encrypted],
        [item for item, encrypted in zip(sockets, tls, strict=True) if encrypted],
    )


def opened(bind: str, port: int) -> list[socket.socket]:
    """Listen on every address of `bind`; with port 0 the first socket picks the port of all."""
    sockets: list[socket.socket] = []
    with contextlib.ExitStack() as undo:
        try:
            infos = socket.getaddrinfo(bind, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
            for family, _, _, _, address in infos:
                item = undo.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
                chosen = port_of(sockets[0]) if sockets else port
                _listen(item, str(address[0]), chosen)
                sockets.append(item)
        except OSError as error:
            raise RouterUnavailableError(f"cannot listen on {bind} port {port}: {error.strerror}") from None
        undo.pop_all()
    return sockets


def _listen(item: socket.socket, host: str, port: int) -> None:
    item.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if item.family == socket.AF_INET6:
        item.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    item.bind((host, port))
    item.listen(_BACKLOG)


def port_of(item: socket.socket) -> int:
    """Return the local port."""
    return int(item.getsockname()[1])
