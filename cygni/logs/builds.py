"""The output of builds: one file each, written line by line, followed by any number of readers.

A line is one `write` without a buffer of ours, and readers read the file: what somebody was shown
survives `kill -9`. While a build runs its file is `ID.part`; closing renames it to `ID.log`.
"""

import asyncio
import os
import re
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from pathlib import Path

from cygni.logs.records import LogStoreError

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_BLOCK = 64 << 10
_LAST_LINES = 50
_LAST_LINE_LENGTH = 1000


class BuildLogWriter:
    """The one open end of a build's output. Closed by its owner, whatever happened to the build."""

    def __init__(self, logs: "BuildLogs", build_id: str, descriptor: int, room: int) -> None:
        self._logs = logs
        self._build_id = build_id
        self._descriptor = descriptor
        self._room = room
        self._left_out = 0
        self._last: deque[str] = deque(maxlen=_LAST_LINES)
        self.closed = False
        self.grown = asyncio.Event()
        """Set by the next line or by closing, and then replaced: take it before you read."""

    async def line(self, text: str) -> None:
        """Add one line (or several, if it has newlines) and wake the followers.

        Beyond the size limit lines are left out, but for the last 50 (the first 1,000 characters of
        each), which come when the log is closed.

        Raises:
            LogStoreError: the disk refused, or the log is closed.
        """
        if self.closed:
            raise LogStoreError(f"the log of build {self._build_id} is closed")
        for line in text.split("\n"):
            self._add(line)
        self._wake()

    async def close(self) -> None:
        """Mark the output as complete; its followers end. Closing again does nothing."""
        if self.closed:
            return
        self.closed = True
        try:
            self._write_last_lines()
        finally:
            os.close(self._descriptor)
            self._logs.complete(self._build_id)
            self._wake()

    def _wake(self) -> None:
        self.grown.set()
        self.grown = asyncio.Event()

    def _add(self, line: str) -> None:
        data = line.encode(errors="replace") + b"\n"
        if self._left_out == 0 and len(data) <= self._room:
            self._room -= len(data)
            self._write(data)
            return
        if self._left_out == 0:
            self._write(b" !     The output is over its size limit; what follows is left out.\n")
        self._left_out += 1
        self._last.append(line[:_LAST_LINE_LENGTH])

    def _write_last_lines(self) -> None:
        if self._left_out:
            missing = self._left_out - len(self._last)
            lines = [f" !     {missing} lines were left out; the last {len(self._last)} are:", *self._last]
            self._write("".join(f"{line}\n" for line in lines).encode(errors="replace"))

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise LogStoreError(f"the build's output cannot be written: {error}") from error


class BuildLogs:
    """The outputs of all builds, in one directory. One process writes there."""

    def __init__(self, directory: Path, limit: int = 16 << 20) -> None:
        """`limit`: bytes of output kept of one build."""
        self._directory = directory
        self._limit = limit
        self._writers: dict[str, BuildLogWriter] = {}

    def writer(self, build_id: str) -> BuildLogWriter:
        """Open a build's output to add lines; until it is closed every caller gets the same writer.

        Opened when the build is queued, a follower has something to wait for. The output of an
        interrupted build is continued.

        Raises:
            LogStoreError: the disk refused.
        """
        if build_id not in self._writers:
            self._writers[build_id] = self._open(build_id)
        return self._writers[build_id]

    async def follow(self, build_id: str) -> AsyncGenerator[str, None]:
        """Every line from the beginning, then new ones as they come.

        Ends when the output is closed, or where it stops if no writer of this process has it (the
        control plane was restarted); an unknown build has no lines.

        Raises:
            LogStoreError: the disk refused.
        """
        position, rest = 0, b""
        while True:
            writer = self._writers.get(build_id)
            grown = writer.grown if writer else None
            while data := self._read(build_id, position):
                position += len(data)
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield line.decode(errors="replace")
            if grown is None:
                break
            await grown.wait()
        if rest:
            yield rest.decode(errors="replace")

    async def read(self, build_id: str) -> str:
        """The output so far, empty for an unknown build.

        Raises:
            LogStoreError: the disk refused.
        """
        output = bytearray()
        while data := await asyncio.to_thread(self._read, build_id, len(output)):
            output += data
        return output.decode(errors="replace")

    def remove(self, build_id: str) -> None:
        """Delete a closed build's output; none is fine."""
        for path in (self._final(build_id), self._partial(build_id)):
            path.unlink(missing_ok=True)

    def prune(self, older_than_seconds: float) -> int:
        """Delete closed outputs that nothing was added to for so long; returns how many."""
        limit = time.time() - older_than_seconds
        old = [path for path in self._directory.glob("*.log") if path.stat().st_mtime < limit]
        for path in old:
            path.unlink(missing_ok=True)
        return len(old)

    def complete(self, build_id: str) -> None:
        """Called by the writer: the output is whole."""
        del self._writers[build_id]
        with suppress(FileNotFoundError):  # removed while it was written
            self._partial(build_id).replace(self._final(build_id))

    async def close(self) -> None:
        """Close every writer, so that the followers end; a build that goes on opens its own again."""
        for writer in list(self._writers.values()):
            await writer.close()

    def _open(self, build_id: str) -> BuildLogWriter:
        path = self._partial(build_id)
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o700)
            with suppress(FileNotFoundError):
                self._final(build_id).replace(path)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            size = os.fstat(descriptor).st_size
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                os.write(descriptor, b"\n")  # what a crash cut off is a line of its own
        except OSError as error:
            raise LogStoreError(f"the build's output cannot be opened: {error}") from error
        return BuildLogWriter(self, build_id, descriptor, max(0, self._limit - size))

    def _read(self, build_id: str, position: int) -> bytes:
        for path in (self._partial(build_id), self._final(build_id)):
            try:
                return _read_block(path, position)
            except FileNotFoundError:
                continue
            except OSError as error:
                raise LogStoreError(f"the build's output cannot be read: {error}") from error
        return b""

    def _partial(self, build_id: str) -> Path:
        return self._directory / f"{_checked(build_id)}.part"

    def _final(self, build_id: str) -> Path:
        return self._directory / f"{_checked(build_id)}.log"


def _read_block(path: Path, position: int) -> bytes:
    with path.open("rb", buffering=0) as file:
        file.seek(position)
        return file.read(_BLOCK) or b""


def _checked(build_id: str) -> str:
    if _ID.fullmatch(build_id) is None:
        raise ValueError(f"not a build's id: {build_id!r}")
    return build_id
