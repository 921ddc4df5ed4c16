"""Pkt-lines: the frames that git's protocol is made of (gitprotocol-common)."""

import re

MAX_DATA = 65516
FLUSH = b"0000"
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")


def frame(data: bytes) -> bytes:
    """Return one pkt-line.

    Raises:
        ValueError: the data does not fit into one frame.
    """
    if len(data) > MAX_DATA:
        raise ValueError(f"{len(data)} bytes do not fit into one pkt-line")
    return b"%04x" % (len(data) + 4) + data


def error(text: str) -> bytes:
    """Return an `ERR` line: git prints it as `fatal: remote error: TEXT` and nothing else."""
    return frame(b"ERR " + text.encode(errors="replace")[:4000])


def length(prefix: bytes) -> int:
    """Read a frame's length prefix, which counts itself.

    Raises:
        ValueError: not four hex digits, or a length that no frame has.
    """
    if not _LENGTH.fullmatch(prefix):
        raise ValueError("a pkt-line starts with four hex digits")
    size = int(prefix, 16)
    if size > MAX_DATA + 4 or 0 < size < 4:
        raise ValueError(f"no pkt-line is {size} bytes long")
    return size
