"""The pre-receive hook: a tiny shell script in git's child, joined by three inherited pipes to its half here.

The script asks on descriptor 7, shows what it reads from 8, and exits with the verdict it reads from 9.
No socket, no token, no interpreter start; when the server dies, the script reads the end and refuses the push.
"""

import asyncio
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from gitserver.pipes import DescriptorPair, PipeReader, PipeWriter
from gitserver.ports import RefUpdate

_ASK, _SHOW, _VERDICT = 7, 8, 9
_MAX_QUESTION = 4 << 20
_END = b"."
_PLACES = 2


class HookError(Exception):
    """Raised when the script says something that it never says."""


@dataclass(frozen=True)
class Question:
    """What pre-receive wants judged: where the objects are, and git's own list of updates.

    The list has refs that git will refuse afterwards too: hidden ones, and those whose objects are not all there.
    """

    quarantine: Path | None
    shallow_file: Path | None
    """The edges that history would have with this push; None where the push changes none."""
    updates: tuple[RefUpdate, ...]


def install(state: Path) -> Path:
    """Write the hook below `state` and return its directory, for `core.hooksPath`.

    Raises:
        OSError: the directory cannot be written.
    """
    hooks = state / "hooks"
    hooks.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = hooks / f".pre-receive.{secrets.token_hex(8)}"
    draft.write_bytes(files("gitserver").joinpath("pre-receive.sh").read_bytes())
    draft.chmod(0o700)
    draft.replace(hooks / "pre-receive")
    return hooks


class Hook:
    """The server's half of one push's hook."""

    def __init__(
        self, pipes: Mapping[int, DescriptorPair], ask: PipeReader, show: PipeWriter, verdict: PipeWriter
    ) -> None:
        self._pipes = pipes
        self._ask = ask
        self._show = show
        self._verdict = verdict
        self._answered = False

    @classmethod
    async def open(cls) -> "Hook":
        """Make the pipes.

        Raises:
            OSError: descriptors have run out.
        """
        pipes: dict[int, DescriptorPair] = {}
        try:
            for number in (_ASK, _SHOW, _VERDICT):
                pipes[number] = DescriptorPair()
            ask = await PipeReader.connect(pipes[_ASK].take_reading())
            show = await PipeWriter.connect(pipes[_SHOW].take_writing())
            verdict = await PipeWriter.connect(pipes[_VERDICT].take_writing())
        except BaseException:
            for pipe in pipes.values():
                pipe.close()
            raise
        return cls(pipes, ask, show, verdict)

    @property
    def descriptors(self) -> Mapping[int, int]:
        """What the child inherits: its number to ours."""
        pipes = self._pipes
        return {_ASK: pipes[_ASK].writing, _SHOW: pipes[_SHOW].reading, _VERDICT: pipes[_VERDICT].reading}

    def started(self) -> None:
        """Close the child's ends here, once it has its own; else we would never read the end."""
        for pipe in self._pipes.values():
            pipe.close()

    async def question(self) -> Question | None:
        """Wait for the script to ask; None when git has ended without running it.

        Raises:
            HookError: what was asked makes no sense.
        """
        lines: list[bytes] = []
        size = 0
        while line := await self._line(self._ask.stream):
            size += len(line)
            if size > _MAX_QUESTION:
                raise HookError("too many updates")
            if line == _END:
                return _question(lines)
            lines.append(line)
        return None

    async def _line(self, stream: asyncio.StreamReader) -> bytes:
        try:
            return (await stream.readuntil(b"\n")).rstrip(b"\n")
        except asyncio.IncompleteReadError:
            return b""
        except asyncio.LimitOverrunError:
            raise HookError("an update is too long") from None

    async def show(self, text: str) -> None:
        """Show a line to the pusher, who may be slow.

        Raises:
            BrokenPipeError: git has ended.
        """
        await self._show.write(text.encode(errors="replace") + b"\n")

    async def answer(self, *, accepted: bool) -> None:
        """Give the verdict, once; lines shown before it are shown before it takes effect."""
        if self._answered:
            return
        self._answered = True
        self._show.close()
        await self._verdict.write(b"0\n" if accepted else b"1\n")
        self._verdict.close()

    def close(self) -> None:
        """Close everything; a script that still waits refuses the push."""
        self.started()
        self._ask.close()
        self._show.abort()
        self._verdict.abort()


def _question(lines: list[bytes]) -> Question:
    if len(lines) < _PLACES:
        raise HookError("the hook's first lines are missing")
    quarantine, shallow_file = (
        _place(line, mark) for line, mark in zip(lines[:_PLACES], (b"q ", b"s "), strict=True)
    )
    return Question(quarantine, shallow_file, tuple(_update(line) for line in lines[_PLACES:]))


def _place(line: bytes, mark: bytes) -> Path | None:
    if not line.startswith(mark):
        raise HookError("the hook's first lines are missing")
    return Path(os.fsdecode(line[2:])) if line != mark else None


def _update(line: bytes) -> RefUpdate:
    parts = line.split(b" ", 2)
    if len(parts) != 3:
        raise HookError("an update has three parts")
    old, new, ref = (part.decode(errors="surrogateescape") for part in parts)
    return RefUpdate(ref, old, new)
