"""Why a roll-out failed, in a form that a person and a program can both use."""

from typing import Literal

from deployer.ports import LogLine

Phase = Literal["release", "start", "boot", "commit"]

Cause = Literal[
    "release-failed",
    "exited",
    "never-bound",
    "bound-to-loopback",
    "wrong-port",
    "unhealthy",
    "out-of-memory",
    "engine",
    "timeout",
]

TAIL_LINES = 50


class RolloutFailedError(Exception):
    """Raised when a release did not come up; what was started has been stopped, the old one still serves.

    `detail` is one sentence that holds no config value of ours; `tail` is what the instance printed last.
    """

    def __init__(
        self,
        phase: Phase,
        cause: Cause,
        detail: str,
        *,
        instance: str | None = None,
        exit_code: int | None = None,
        last_probe: str | None = None,
        tail: tuple[LogLine, ...] = (),
    ) -> None:
        super().__init__(f"{instance}: {detail}" if instance else detail)
        self.phase = phase
        self.cause = cause
        self.detail = detail
        self.instance = instance
        self.exit_code = exit_code
        self.last_probe = last_probe
        self.tail = tail
