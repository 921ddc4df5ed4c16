"""This process's own terminal, given to a command that runs elsewhere."""

import asyncio
import fcntl
import os
import signal
import struct
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager

_CHUNK = 4096


def here() -> bool:
    """Whether a person sits at this process: it reads and writes a terminal."""
    return sys.stdin.isatty() and sys.stdout.isatty()


def size() -> tuple[int, int]:
    """Columns and rows."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(sys.stdin.fileno(), termios.TIOCGWINSZ, bytes(8)))
    return columns, rows


@contextmanager
def raw() -> Iterator["asyncio.Queue[bytes]"]:
    """Yield what is typed, byte by byte; the terminal is as it was afterwards."""
    loop, descriptor = asyncio.get_running_loop(), sys.stdin.fileno()
    typed: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        try:
            data = os.read(descriptor, _CHUNK)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(descriptor)
        typed.put_nowait(data)

    before = termios.tcgetattr(descriptor)
    tty.setraw(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield typed
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


@contextmanager
def resizes() -> Iterator[asyncio.Event]:
    """Yield an event that is set whenever the window changes its size."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGWINCH, changed.set)
    try:
        yield changed
    finally:
        loop.remove_signal_handler(signal.SIGWINCH)
