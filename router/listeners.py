"""Listening sockets: taken from the service manager or opened here, then inherited by every worker."""

import contextlib
import socket
from collections.abc import MutableMapping
from dataclasses import dataclass

from config.service import inherited
from router.errors import RouterUnavailableError

TLS_NAME = "https"
"""What a service manager calls the sockets of HTTP over TLS (FileDescriptorName=)."""
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
    """Return systemd's sockets where `environment` names them; open those of these ports that it has not.

    Raises:
        RouterUnavailableError: the address is in use, unknown or not ours.
    """
    found = inherited(environment)
    if found:
        plain = [item for name, item in found if name != TLS_NAME]
        tls = [item for name, item in found if name == TLS_NAME]
        if tls:
            return Listeners(plain, tls)
    else:
        plain = opened(bind, port)
    try:
        return Listeners(plain, [] if https_port is None else opened(bind, https_port))
    except RouterUnavailableError:
        for item in plain:
            item.close()
        raise


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
