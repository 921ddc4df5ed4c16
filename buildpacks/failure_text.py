"""What the text of a failure is made of."""

from dataclasses import dataclass

from buildpacks.plan import FailureClass


@dataclass(frozen=True)
class FailureText:
    """Title and body of a failure. `retry`: the same push may work later."""

    title: str
    body: str
    cls: FailureClass = "user"
    retry: bool = False
