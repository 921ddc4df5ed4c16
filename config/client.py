"""What the command line needs to find its server; unlike a server's settings, all of it is optional."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Client:
    """`CYGNI_DATA` (a state directory on this machine), `CYGNI_REMOTE` (an SSH address) and `CYGNI_APP`."""

    data: Path | None
    remote: str | None
    app: str | None
    editor: str = "vi"
    """What `$VISUAL` or `$EDITOR` says, with its arguments."""
    colour: bool = True
    """Whether a terminal may get colours: not with `NO_COLOR` (no-color.org) or `TERM=dumb`."""


def client(environment: Mapping[str, str] = os.environ) -> Client:
    """Read the environment; a working directory inside a state directory counts as `CYGNI_DATA`."""
    data = environment.get("CYGNI_DATA")
    return Client(
        data=Path(data) if data else _state_here(),
        remote=environment.get("CYGNI_REMOTE") or None,
        app=environment.get("CYGNI_APP") or None,
        editor=environment.get("VISUAL") or environment.get("EDITOR") or "vi",
        colour=not environment.get("NO_COLOR") and environment.get("TERM") != "dumb",
    )


def _state_here() -> Path | None:
    here = Path.cwd()
    return next((path for path in (here, *here.parents) if (path / "cygni.db").exists()), None)


def terminal_kind() -> str:
    """What this process's terminal is called."""
    return os.environ.get("TERM", "")
