"""Header lines: what each says, remembered, since most lines of most heads are repeats.

A line is checked against the grammar when it is first seen; what it says never changes. So the usual cost of a line
is one look-up, whatever the client or the app puts into the others.
"""

import re
from typing import Final

from router.errors import RefusedError

Field = tuple[bytes, bytes]
"""A special field's lower-case name and its value."""

DROPPED: Final[Field] = (b"", b"")
"""A field that does not go on: its name reads as a special one once it is a CGI variable."""

_LINE: Final = re.compile(rb"([!#$%&'*+\-.^_`|~0-9A-Za-z]++):([\t\x20-\x7e\x80-\xff]*+)")
_MOST: Final = 4_096
_LONGEST: Final = 200


class LineTable(dict[bytes, Field | None]):
    """From a line to its special field, or to None for one that goes on as it is.

    Looking up a line that was not seen yet checks it. Bounded: starts anew when it is full.
    """

    __slots__ = ("_special",)

    def __init__(self, special: frozenset[bytes]) -> None:
        """`special` are the names of fields that routing and framing depend on."""
        super().__init__()
        self._special = special

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

    def _read(self, name: bytes, value: bytes) -> Field | None:
        if name in self._special:
            return name, value.strip(b" \t")
        return DROPPED if b"_" in name and name.replace(b"_", b"-") in self._special else None
