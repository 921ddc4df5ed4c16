"""Header lines: what each says, remembered, since most lines of most heads are repeats.

A line is checked against the grammar when it is first seen; what it says never changes. So the usual cost of a line
is one look-up, whatever the client or the app puts into the others.
"""

import re
from collections.abc import Iterable
from itertools import compress
from operator import not_
from typing import Final

from router.errors import RefusedError

Field = tuple[bytes, bytes]
"""A special field's lower-case name and its value."""

DROPPED: Final[Field] = (b"", b"")
"""A field that does not go on: its name reads as a special one once it is a CGI variable."""

HOP_BY_HOP: Final = (
    b"connection",
    b"keep-alive",
    b"proxy-connection",
    b"te",
    b"trailer",
    b"transfer-encoding",
    b"upgrade",
)

_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([\t\x20-\x7e\x80-\xff]*+)")
_LENGTH: Final = re.compile(rb"[0-9]{1,18}")
_SINGLE: Final = frozenset((b"host", b"content-length", b"transfer-encoding"))
_NO_OPTIONS: Final[frozenset[bytes]] = frozenset()
_PLAIN_OPTIONS: Final = frozenset((b"close", b"keep-alive", b"upgrade"))
_MOST: Final = 4_096
_LONGEST: Final = 200


class LineTable(dict[bytes, Field | None]):
    """From a line to its special field, or to None for one that goes on as it is.

    Looking up a line that was not seen yet checks it. Bounded: starts anew when it is full.
    """

    __slots__ = ("_special",)

    def __init__(self, special: Iterable[bytes]) -> None:
        """`special` are the names of fields that routing and framing depend on."""
        super().__init__()
        self._special = frozenset(special)

    def __missing__(self, line: bytes) -> Field | None:
        """Read a new line.

        Raises:
            RefusedError: it is malformed.
        """
        match = _LINE.fullmatch(line)
        if match is None:
            raise RefusedError(400, "a header line is malformed")
        field = self._read(match[1].lower(), match[2])
        if len(line) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[line] = field
        return field

    def sort(self, lines: list[bytes], most: int) -> tuple[list[bytes], tuple[Field, ...]]:
        """Part the lines that go on as they are from what the special ones say.

        Raises:
            RefusedError: one is malformed, or there are more than `most`.
        """
        if len(lines) > most:
            raise RefusedError(431, "there are too many headers")
        said = [*map(self.__getitem__, lines)]
        return [*compress(lines, map(not_, said))], tuple(filter(None, said))

    def _read(self, name: bytes, value: bytes) -> Field | None:
        if name in self._special:
            return name, value.strip(b" \t")
        return DROPPED if b"_" in name and name.replace(b"_", b"-") in self._special else None


def joined(said: tuple[Field, ...]) -> dict[bytes, bytes]:
    """Return each special field's value; a repeated one's values are one list (RFC 9110 5.3).

    Raises:
        RefusedError: a field is repeated that framing or routing depends on.
    """
    special: dict[bytes, bytes] = {}
    for name, value in said:
        if not name:
            continue
        if name not in special:
            special[name] = value
        elif name in _SINGLE:
            raise RefusedError(400, f"{name.decode()} is repeated")
        else:
            special[name] += b", " + value
    return special


def length_of(special: dict[bytes, bytes]) -> int | None:
    """Return Content-Length, None where there is none. Raises RefusedError for one that is no number."""
    text = special.get(b"content-length")
    if text is None:
        return None
    if _LENGTH.fullmatch(text) is None:
        raise RefusedError(400, "Content-Length is not a number")
    return int(text)


def options_of(special: dict[bytes, bytes]) -> frozenset[bytes]:
    """Return what the Connection field lists."""
    value = special.get(b"connection")
    return frozenset(item.strip(b" \t") for item in value.lower().split(b",")) if value else _NO_OPTIONS


def without(lines: list[bytes], options: frozenset[bytes]) -> list[bytes]:
    """Drop the fields that the Connection field declares to be for this hop only (RFC 9110 7.6.1)."""
    if options <= _PLAIN_OPTIONS:
        return lines
    return [line for line in lines if line.partition(b":")[0].lower() not in options]
