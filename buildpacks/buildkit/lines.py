"""Bytes that a step prints, as lines for people: bounded, redacted, without terminal control, never held for long."""

import codecs
import re

from buildpacks.buildkit.redact import RedactedStream, Redactor

LINE_CHARS = 4096
PARTIAL_SECONDS = 0.5
"""How long a line without an end is waited for before it is shown as it is."""
OVERWRITE_SECONDS = 2.0
"""How often a progress bar, which overwrites its line with carriage returns, is shown."""

# Colour (SGR) stays; cursor movement, titles and other control characters have no place in a stream of lines.
_CONTROL = re.compile(
    r"\x1b\[[0-9;:?<=>]*[ -/]*[@-ln-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b(?!\[[0-9;:]*m)[^\[]?"
    r"|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f]"
)


class LineBuffer:
    """Cuts one stream into lines. Times are those of a monotonic clock, in seconds."""

    def __init__(self, redactor: Redactor) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._redacted = RedactedStream(redactor)
        self._partial = ""
        self._since = 0.0
        self._overwrite_shown = float("-inf")

    def feed(self, data: bytes, now: float) -> list[str]:
        """Lines that are complete."""
        text = self._redacted.feed(self._decoder.decode(data))
        if not self._partial:
            self._since = now
        *complete, self._partial = (self._partial + text).split("\n")
        lines = [_last_overwrite(line) for line in complete]
        if "\r" in self._partial:
            self._partial = _last_overwrite(self._partial) + "\r"
        elif len(self._partial) >= LINE_CHARS:
            lines.append(self._partial)
            self._partial = ""
        return [piece for line in lines for piece in _pieces(line)]

    def due(self, now: float) -> list[str]:
        """The line without an end, once it has waited long enough."""
        overwritten = self._partial.endswith("\r")
        if overwritten:
            waited_enough = now - self._overwrite_shown >= OVERWRITE_SECONDS
        else:
            waited_enough = now - self._since >= PARTIAL_SECONDS
        if not self._partial.strip() or not waited_enough:
            return []
        if overwritten:
            self._overwrite_shown = now
        return self._take()

    def flush(self) -> list[str]:
        """Everything that is left: the stream has ended."""
        self._partial += self._redacted.feed(self._decoder.decode(b"", final=True)) + self._redacted.flush()
        return [line for line in self._take() if line]

    def _take(self) -> list[str]:
        line, self._partial = _last_overwrite(self._partial), ""
        return _pieces(line)


def _last_overwrite(line: str) -> str:
    """What a terminal would show at the end: the text after the last carriage return that has some."""
    return next((part for part in reversed(line.split("\r")) if part), "")


def _pieces(line: str) -> list[str]:
    clean = _CONTROL.sub("", line).rstrip()
    return [clean[at : at + LINE_CHARS] for at in range(0, len(clean), LINE_CHARS)] or [""]
