"""Reads what a pushing client says before its pack: commands, shallow edges, push options (gitprotocol-pack).

The bytes themselves go on to git unchanged; this only listens, in bounded memory.
"""

import re
import struct
from enum import Enum, auto
from typing import TypeVar

from gitserver import pktline
from gitserver.ports import Limits, RefUpdate

_T = TypeVar("_T")

MAX_HEADER = 4 << 20
_COMMAND = re.compile(rb"([0-9a-f]{40}) ([0-9a-f]{40}) ([^\0\n]+)", re.DOTALL)
_SHALLOW = re.compile(rb"shallow ([0-9a-f]{40})")
_PREFIX_LENGTH = 4
_PACK_START = struct.Struct(">4sII")


class HeaderTooLongError(Exception):
    """Raised when a client's commands and options go beyond `MAX_HEADER` bytes."""


class _Part(Enum):
    COMMANDS = auto()
    OPTIONS = auto()
    PACK = auto()


class PushHeader:
    """What is known of a push before its pack arrives.

    `violations` are sentences for the pusher. They do not stop the stream: git's client shows a reason only
    if it was allowed to send everything, so the pre-receive hook gives the answer.
    """

    def __init__(self, limits: Limits) -> None:
        self.updates: list[RefUpdate] = []
        self.shallow: list[str] = []
        self.options: list[str] = []
        self.capabilities: frozenset[str] = frozenset()
        self.violations: list[str] = []
        self.objects: int | None = None
        """How many objects the pack says it has; None until its first bytes have come."""
        self._pack = b""
        self._limits = limits
        self._part = _Part.COMMANDS
        self._rest = b""
        self._seen = 0
        self._commands = 0

    @property
    def complete(self) -> bool:
        """Whether everything before the pack has been read."""
        return self._part is _Part.PACK

    def feed(self, data: bytes) -> int:
        """Read on; return how many bytes at the end of `data` are of a pack.

        Raises:
            HeaderTooLongError: the client never comes to the pack.
        """
        if self.complete:
            self._note_pack(data)
            return len(data)
        self._seen += len(data)
        self._rest += data
        self._take_frames()
        return self._pack_began()

    def _pack_began(self) -> int:
        if not self.complete:
            if self._seen > MAX_HEADER:
                raise HeaderTooLongError
            return 0
        rest, self._rest = self._rest, b""
        self._note_pack(rest)
        return len(rest)

    def _note_pack(self, data: bytes) -> None:
        """Read how many objects come; whether they do is git's to check."""
        if self.objects is not None:
            return
        self._pack += data[: _PACK_START.size - len(self._pack)]
        if len(self._pack) == _PACK_START.size:
            self.objects = _PACK_START.unpack(self._pack)[2]

    def _take_frames(self) -> None:
        start = 0
        data = self._rest
        while not self.complete and len(data) - start >= _PREFIX_LENGTH:
            try:
                size = pktline.length(data[start : start + _PREFIX_LENGTH])
            except ValueError:
                self._violate("what git sent is not its protocol")
                self._part = _Part.PACK
                break
            if len(data) - start < size:
                break
            self._frame(data[start + _PREFIX_LENGTH : start + size] if size else None)
            start += size or _PREFIX_LENGTH
        self._rest = data[start:]

    def _frame(self, data: bytes | None) -> None:
        if data is None:
            self._flush()
        elif self._part is _Part.OPTIONS:
            self._option(data)
        else:
            self._command(data.rstrip(b"\n"))

    def _flush(self) -> None:
        wants_options = "push-options" in self.capabilities and self._part is _Part.COMMANDS
        self._part = _Part.OPTIONS if wants_options else _Part.PACK

    def _command(self, line: bytes) -> None:
        if match := _SHALLOW.fullmatch(line):
            self._keep(self.shallow, match[1].decode(), self._limits.ref_updates * 10, "shallow edges")
            return
        line, _, capabilities = line.partition(b"\0")
        if not self._commands:
            self.capabilities = frozenset(capabilities.decode(errors="replace").split())
        self._commands += 1
        if match := _COMMAND.fullmatch(line):
            old, new, ref = (part.decode(errors="surrogateescape") for part in match.groups())
            self._keep(self.updates, RefUpdate(ref, old, new), self._limits.ref_updates, "refs in one push")
        else:
            self._violate("what git sent is not its protocol")

    def _option(self, data: bytes) -> None:
        value = data.removesuffix(b"\n")
        if len(value) > self._limits.push_option_bytes:
            self._violate(f"a push option is longer than {self._limits.push_option_bytes} bytes")
        elif not (text := value.decode(errors="replace")).isprintable():
            self._violate("a push option has characters that cannot be shown")
        else:
            self._keep(self.options, text, self._limits.push_options, "push options")

    def _keep(self, kept: list[_T], value: _T, limit: int, what: str) -> None:
        if len(kept) < limit:
            kept.append(value)
        else:
            self._violate(f"there are more than {limit} {what}")

    def _violate(self, text: str) -> None:
        if text not in self.violations:
            self.violations.append(text)
