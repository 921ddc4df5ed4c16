"""Text for a person's terminal: plain lines and colours, nothing that moves the cursor or asks questions.

git from 2.55 on masks other control sequences itself; older clients would run them (CVE-2024-52005).
"""

import codecs
import re

PROBLEM = " !     "
MAX_LINE = 16_384

_SEQUENCE = re.compile(
    r"""
      (?P<colour>\x1b\[[0-9;:]*m)                    # SGR stays
    | \x1b[\]PX^_] .*? (?: \x07 | \x1b\\ | \x9c | $)   # OSC, DCS, SOS, PM, APC with their text
    | (?: \x1b\[ | \x9b ) [0-?]*[ -/]*[@-~]?         # any other CSI
    | \x1b [ -/]* [0-~]?                             # any other escape
    | [\x00-\x08\x0a-\x1f\x7f-\x9f]                  # C0 but tab, DEL, C1
    | [\u202a-\u202e\u2066-\u2069\u2028\u2029]       # direction overrides and line separators
    """,
    re.VERBOSE | re.DOTALL,
)


def clean(text: str) -> str:
    """Return one line without control sequences other than SGR colour, at most `MAX_LINE` characters.

    Of a line that a program has redrawn with carriage returns, the last state is kept.
    """
    last = text.rstrip("\r\n").rsplit("\r", 1)[-1]
    safe = _SEQUENCE.sub(lambda match: match["colour"] or "", last[: MAX_LINE * 2])
    return safe if len(safe) <= MAX_LINE else safe[:MAX_LINE] + "…"


def split(text: str) -> list[str]:
    """Return the lines of a text, each cleaned; an empty text is one empty line."""
    return [clean(line) for line in text.split("\n")] or [""]


def problem(text: str) -> list[str]:
    """Return the lines of a refusal in the push grammar."""
    return [(PROBLEM + line).rstrip() for line in split(text)]


class LineCleaner:
    """Cleans a stream of bytes line by line; holds back at most one unfinished line."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._rest = ""

    def feed(self, data: bytes) -> bytes:
        """Return the cleaned lines that `data` completes."""
        *whole, self._rest = (self._rest + self._decoder.decode(data)).split("\n")
        if len(self._rest) > MAX_LINE:
            whole.append(self._rest)
            self._rest = ""
        return "".join(f"{clean(line)}\n" for line in whole).encode()

    def close(self) -> bytes:
        """Return what is left."""
        rest, self._rest = self._rest + self._decoder.decode(b"", final=True), ""
        return f"{clean(rest)}\n".encode() if rest else b""
