"""A build's progress as lines for people: steps as they start and end, and their output as it appears.

Pure: events and clock readings in, lines out. The engine repeats a step's state; each is told once.
"""

import re
from collections import deque
from dataclasses import dataclass, field

from buildpacks.buildkit.lines import LineBuffer
from buildpacks.buildkit.redact import Redactor
from buildpacks.buildkit.trace import Output, Vertex

INDENT = " " * 7
TAIL_LINES = 50
_STANDARD_ERROR = 2
_TITLE_CHARS = 160
_STEP = re.compile(r"^(\[[^\]]*\d+/\d+\]) (\S+)(.*)$", re.DOTALL)
_FLAG = re.compile(r"--(?:mount|network|security)=\S+\s+")
_CANCELLED = "context canceled"
# The engine shows 1 MiB of a step, and of that 100 KiB a second. What it leaves out counts too: after more than
# 1 MiB in the first second nothing is shown any more.
_CLIPPED = re.compile(rb"\[output clipped, log limit [^\]]+ reached\]\s*\Z")
_FLOOD_BEGINS_SECONDS = 30.0


@dataclass
class _Step:
    tag: str
    title: str
    streams: tuple[LineBuffer, LineBuffer]
    """Standard output and standard error."""
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL_LINES))
    started: float | None = None
    ended: bool = False
    first_output: float | None = None
    clipped: float | None = None


@dataclass(frozen=True)
class FailedStep:
    """The step that ended a build. `tail` is the end of its output, redacted; `error` the engine's text."""

    title: str
    error: str
    tail: tuple[str, ...]


@dataclass(frozen=True)
class RunningStep:
    """A step that runs now; `started` in seconds since the epoch."""

    title: str
    command: str
    started: float


class Progress:
    """Follows one build."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._steps: dict[str, _Step] = {}
        self.failed: FailedStep | None = None
        self.last_error = ""
        """The error of a step that is not the Dockerfile's own, such as a base image that is missing."""

    def vertex(self, vertex: Vertex) -> list[str]:
        """A step's new state."""
        step = self._steps.get(vertex.digest) or self._add(vertex)
        if step is None:
            return []
        lines = []
        if vertex.started is not None and step.started is None and not vertex.cached:
            step.started = vertex.started
            lines.append(f"{INDENT}{step.tag} {step.title}")
        if vertex.completed is not None and not step.ended:
            lines += self._end(step, vertex)
        return lines

    def output(self, output: Output, now: float) -> list[str]:
        """Something a step printed."""
        step = self._steps.get(output.vertex)
        if step is None:
            return []
        if step.first_output is None:
            step.first_output = now
        step.clipped = now if _CLIPPED.search(output.data) else None
        lines = step.streams[output.stream == _STANDARD_ERROR]
        return self._shown(step, lines.feed(output.data, now))

    def flooding(self, now: float, seconds: float) -> str:
        """The title of a step whose output was cut off when it had hardly begun, and has not come back.

        Nothing else tells endless output from much output. A step that printed for a while before may go on:
        the time limit ends it.
        """
        for step in self._steps.values():
            if step.ended or step.clipped is None or step.first_output is None:
                continue
            early = step.clipped - step.first_output <= _FLOOD_BEGINS_SECONDS
            if early and now - step.clipped >= seconds:
                return f"{step.tag} {step.title}"
        return ""

    def due(self, now: float) -> list[str]:
        """Unfinished lines that have waited long enough."""
        return [
            line
            for step in self._steps.values()
            if not step.ended
            for lines in step.streams
            for line in self._shown(step, lines.due(now))
        ]

    def finish(self) -> list[str]:
        """The rest of every step's output."""
        return [line for step in self._steps.values() for line in self._rest(step)]

    def running(self) -> list[RunningStep]:
        """Steps that have started and not ended."""
        return [
            RunningStep(f"{step.tag} {step.title}", step.title.partition(" ")[2], step.started)
            for step in self._steps.values()
            if step.started is not None and not step.ended
        ]

    def _add(self, vertex: Vertex) -> _Step | None:
        match = _STEP.match(vertex.name)
        if match is None or match[2] == "FROM":
            if vertex.error and _CANCELLED not in vertex.error:
                self.last_error = self._redactor.text(vertex.error)
            return None
        text = " ".join((match[2] + _FLAG.sub("", match[3])).split())
        title = self._redactor.text(text)
        step = _Step(match[1], _cut(title), (LineBuffer(self._redactor), LineBuffer(self._redactor)))
        self._steps[vertex.digest] = step
        return step

    def _end(self, step: _Step, vertex: Vertex) -> list[str]:
        step.ended = True
        if vertex.cached:
            return (
                [f"{INDENT}{step.tag} CACHED {step.title}"]
                if step.started is None
                else [f"{INDENT}{step.tag} CACHED"]
            )
        seconds = max(0.0, (vertex.completed or 0.0) - (step.started or vertex.completed or 0.0))
        return [*self._rest(step), f"{INDENT}{step.tag} {self._verdict(step, vertex)} {seconds:.1f}s"]

    def _verdict(self, step: _Step, vertex: Vertex) -> str:
        if not vertex.error:
            return "DONE"
        if _CANCELLED in vertex.error:
            return "STOPPED"
        if self.failed is None:
            error = self._redactor.text(vertex.error)
            self.failed = FailedStep(f"{step.tag} {step.title}", error, tuple(step.tail))
        return "FAILED"

    def _rest(self, step: _Step) -> list[str]:
        return [line for lines in step.streams for line in self._shown(step, lines.flush())]

    def _shown(self, step: _Step, lines: list[str]) -> list[str]:
        step.tail.extend(lines)
        several = sum(1 for other in self._steps.values() if other.started and not other.ended) > 1
        prefix = f"{INDENT}{step.tag} " if several else INDENT
        return [prefix + line for line in lines]


def _cut(title: str) -> str:
    return title if len(title) <= _TITLE_CHARS else title[: _TITLE_CHARS - 1] + "…"
