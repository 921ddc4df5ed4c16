"""Listening sockets: taken from the service manager or opened here, then inherited by every worker."""

import contextlib
import socket
from collections.abc import MutableMapping

from config.service import inherited
from router.errors import RouterUnavailableError

_BACKLOG = 4_096


def obtain(bind: str, port: int, environment: MutableMapping[str, str]) -> list[socket.socket]:
    """Return systemd's sockets where `environment` names them, else open `bind`:`port`.

    Raises:
        RouterUnavailableError: the address is in use, unknown or not ours.
    """
    return inherited(environment) or opened(bind, port)


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
