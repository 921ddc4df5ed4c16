"""Secret values out of build output, by value, however the output is cut into pieces."""

import base64
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Iterator

HIDDEN = "[hidden]"
SHORTEST = 5
"""Shorter values ("1", "true") occur in any output: hiding them would hide nothing and garble everything."""
_SHORTEST_LINE = 8
_SHORTEST_ENCODED = 9
_ENCODED_LINE = 76
_KEY = 4
_ASSIGNMENT = re.compile(r"^(?:export\s+)?[A-Za-z_]\w*=", re.MULTILINE)


class Redactor:
    """Replaces secret values in text. Immutable, shared by every stream of a build."""

    def __init__(self, values: Iterable[str]) -> None:
        found = sorted(
            {form for value in values for form in _forms(value)}, key=lambda form: (-len(form), form)
        )
        self._pattern = re.compile("|".join(map(re.escape, found))) if found else None
        self.longest = len(found[0]) if found else 0
        self._by_start: defaultdict[str, list[str]] = defaultdict(list)
        for form in found:
            for length in range(1, _KEY + 1):
                self._by_start[form[:length]].append(form)

    def text(self, text: str) -> str:
        """The whole text without secret values."""
        return self._pattern.sub(HIDDEN, text) if self._pattern else text

    def unfinished(self, text: str) -> int:
        """Where the longest end of `text` starts that may be the beginning of a secret; `len(text)` for none."""
        for at in range(max(0, len(text) - self.longest + 1), len(text)):
            start = text[at : at + _KEY]
            if start in self._by_start and any(form.startswith(text[at:]) for form in self._by_start[start]):
                return at
        return len(text)


class RedactedStream:
    """One stream of text, redacted across the borders of its pieces.

    It keeps back what may be the start of a secret until more text, or `flush`, decides.
    """

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._held = ""

    def feed(self, text: str) -> str:
        """What can be shown now."""
        if not self._redactor.longest:
            return text
        # Whole values go first; what is left of the text can then only hold the beginning of one at its end.
        text = self._redactor.text(self._held + text)
        at = self._redactor.unfinished(text)
        self._held = text[at:]
        return text[:at]

    def flush(self) -> str:
        """The rest: the stream has ended, so it was no secret."""
        held, self._held = self._held, ""
        return held


def _forms(value: str) -> Iterator[str]:
    """The value, its lines, and the values of `NAME=value` lines in it: what a program may print of it."""
    for text in _plain_forms(value):
        yield text
        yield from _encoded(text.encode())


def _encoded(data: bytes) -> Iterator[str]:
    """Its base64, alone or as a part of something longer: without the characters that its neighbours decide."""
    if len(data) < _SHORTEST_ENCODED:
        return
    for shift in range(3):
        whole = base64.b64encode(bytes(shift) + data).decode()
        text = whole[(0, 2, 3)[shift] : (shift + len(data)) * 8 // 6]
        yield text
        yield text.replace("+", "-").replace("/", "_")
        if shift == 0:  # as the program `base64` breaks it
            lines = (text[at : at + _ENCODED_LINE] for at in range(0, len(text), _ENCODED_LINE))
            yield from (line for line in lines if len(line) >= _SHORTEST_LINE)


def _plain_forms(value: str) -> Iterator[str]:
    for text in (value, value.strip()):
        if len(text) >= SHORTEST:
            yield text
    lines = [line.strip() for line in value.splitlines()]
    if len(lines) > 1:
        yield from (line for line in lines if len(line) >= _SHORTEST_LINE)
    for match in _ASSIGNMENT.finditer(value):
        yield from _assigned(value[match.end() :])


def _assigned(text: str) -> Iterator[str]:
    """The first word of a shell's text, which may be quoted and span lines."""
    reader = shlex.shlex(text, posix=True)
    reader.whitespace_split = True
    try:
        word = reader.get_token() or ""
    except ValueError:
        word = text.partition("\n")[0]
    if len(word) >= SHORTEST:
        yield word
    yield from (line for line in word.splitlines() if len(line) >= _SHORTEST_LINE and line != word)
