"""Where a container's processes listen, read from its network namespace's socket table."""

import socket
import struct
from collections.abc import Iterator
from pathlib import Path

from deployer.ports import Address

_LISTEN = "0A"
_RESOLVER = "127.0.0.11"
"""The engine's own name server listens there in every container of a network that was made; it is no process's."""


def listening(pid: int) -> list[Address]:
    """Listening TCP addresses as seen from inside; empty where the kernel does not let us look."""
    found = []
    for table in ("tcp", "tcp6"):
        try:
            text = Path(f"/proc/{pid}/net/{table}").read_text()
        except OSError:
            continue
        found += [address for address in _parse(text) if address.host != _RESOLVER]
    return sorted(set(found), key=lambda address: (address.port, address.host))


def _parse(text: str) -> Iterator[Address]:
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[3] == _LISTEN:
            host, _, port = fields[1].partition(":")
            yield Address(_host(host), int(port, 16))


def _host(digits: str) -> str:
    """proc(5): 32-bit words in the machine's own byte order."""
    words = [int(digits[start : start + 8], 16) for start in range(0, len(digits), 8)]
    packed = struct.pack(f"={len(words)}I", *words)
    return socket.inet_ntop(socket.AF_INET if len(words) == 1 else socket.AF_INET6, packed)
