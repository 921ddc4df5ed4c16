"""What a service manager hands to this process, and what it is told: sd_notify(3), sd_listen_fds(3)."""

import asyncio
import os
import socket
from collections.abc import MutableMapping
from itertools import chain, repeat

_FIRST_DESCRIPTOR = 3
_BEATS = 3
"""Signs of life in the time after which the manager takes us for hung."""


class ServiceManager:
    """systemd's side of a service. Without one, everything here does nothing.

    The variables are taken out of `environment` (this process's, unless given), so that no child of ours speaks in
    our name.
    """

    def __init__(self, environment: MutableMapping[str, str] | None = None) -> None:
        environment = os.environ if environment is None else environment
        self._address = environment.pop("NOTIFY_SOCKET", "")
        period, pid = environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", "")
        ours = pid in {"", str(os.getpid())}
        self._period = int(period) / 1_000_000 if period.isdigit() and ours else 0.0

    def ready(self) -> None:
        """Everything has started; what is ordered after us may start."""
        self._tell("READY=1")

    def stopping(self) -> None:
        """We end on purpose, and may take our time."""
        self._tell("STOPPING=1")

    async def keep_alive(self) -> None:
        """Give signs of life for as long as the event loop runs, where the manager waits for them."""
        while self._period:
            self._tell("WATCHDOG=1")
            await asyncio.sleep(self._period / _BEATS)

    def _tell(self, state: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
            # "@" stands for the zero byte of an abstract address.
            sender.connect(self._address.replace("@", "\0", 1))
            sender.send(state.encode())


def inherited(environment: MutableMapping[str, str] | None = None) -> list[tuple[str, socket.socket]]:
    """Take over listening sockets passed by a service manager, with the names it gave them (FileDescriptorName=).

    The variables are removed, as the protocol asks.
    """
    environment = os.environ if environment is None else environment
    pid = environment.pop("LISTEN_PID", "")
    count = environment.pop("LISTEN_FDS", "0")
    names = environment.pop("LISTEN_FDNAMES", "").split(":")
    if pid != str(os.getpid()) or not count.isdigit():
        return []
    sockets = [
        socket.socket(fileno=number) for number in range(_FIRST_DESCRIPTOR, _FIRST_DESCRIPTOR + int(count))
    ]
    for item in sockets:
        item.setblocking(False)
        item.set_inheritable(False)
    return list(zip(chain(names, repeat("")), sockets, strict=False))
