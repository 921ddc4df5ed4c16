"""Why a build ended without an image: the engine's words, as a `BuildFailedError` with its cause."""

import re

from buildpacks.buildkit.progress import FailedStep, Progress
from buildpacks.ports import BuildFailedError, BuildLimits

_EXIT_CODE = re.compile(r"exit code: (\d+)")
_SYNTAX = re.compile(
    r"(?:dockerfile parse error|Dockerfile parse error|failed to create LLB definition|unknown instruction).*",
    re.DOTALL,
)
_WRAPPING = re.compile(
    r"^(?:failed to solve(?: with frontend [\w.-]+)?: |rpc error: code = \w+ desc = |failed to \w+ LLB definition: )+"
)
_KILLED = 137
_DISK_FULL = "no space left on device"
_ENGINE_FAULTS = (
    "transport is closing",
    "connection error",
    "read-only file system",
)


def size_text(count: int) -> str:
    """Bytes as people say them."""
    for unit, scale in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if count >= scale:
            return f"{count / scale:.3g} {unit}"
    return f"{count} bytes"


def from_engine(message: str, progress: Progress, limits: BuildLimits) -> BuildFailedError:
    """What the engine's error message means. `message` is redacted."""
    failed = progress.failed or FailedStep("", "", ())
    text = failed.error or message
    if not progress.failed and "context canceled" in message:
        return BuildFailedError("cancelled", "the build was cancelled")
    code = _EXIT_CODE.search(text)
    if code is not None:
        return _exited(int(code[1]), failed, limits)
    if _DISK_FULL in text:
        return BuildFailedError("disk", _plain(text), step=failed.title, tail=failed.tail)
    if any(fault in text for fault in _ENGINE_FAULTS):
        return BuildFailedError(
            "engine", f"the build engine failed: {_plain(text)}", step=failed.title, tail=failed.tail
        )
    detail = progress.last_error or text
    syntax = _SYNTAX.search(message)
    return BuildFailedError(
        "syntax", _plain(syntax[0] if syntax else detail), step=failed.title, tail=failed.tail
    )


def timed_out(progress: Progress, limits: BuildLimits) -> BuildFailedError:
    """The build took too long."""
    running = progress.running()
    step = running[0].title if running else ""
    where = f" during {step}" if step else ""
    return BuildFailedError(
        "timeout", f"the build took longer than {limits.seconds:g} seconds{where}", step=step
    )


def too_much_output(progress: Progress, limits: BuildLimits) -> BuildFailedError:
    """The build printed too much."""
    running = progress.running()
    step = running[0].title if running else ""
    where = f" during {step}" if step else ""
    text = f"the build printed more than {size_text(limits.log_bytes)}{where}"
    return BuildFailedError("log", text, step=step)


def endless_output(step: str) -> BuildFailedError:
    """A step printed all that the engine shows of one, quickly, and went on."""
    return BuildFailedError("log", f"endless output of {step}", step=step)


def out_of_memory(step: str, limits: BuildLimits, tail: tuple[str, ...] = ()) -> BuildFailedError:
    """The build was over its memory limit."""
    limit = size_text(limits.memory_bytes)
    return BuildFailedError(
        "memory", f"out of memory (limit {limit})", step=step, exit_code=_KILLED, tail=tail
    )


def engine_gone(detail: str) -> BuildFailedError:
    """The engine stopped answering."""
    return BuildFailedError("engine", f"the build engine went away: {detail}")


def _exited(code: int, failed: FailedStep, limits: BuildLimits) -> BuildFailedError:
    if code == _KILLED:
        return out_of_memory(failed.title, limits, failed.tail)
    return BuildFailedError("exit", f"exit code {code}", step=failed.title, exit_code=code, tail=failed.tail)


def _plain(text: str) -> str:
    return _WRAPPING.sub("", text).strip()
