"""Where a running server listens, for those who share its state directory."""

import json
from pathlib import Path


def port_file(data: Path) -> Path:
    """The file that a running server writes."""
    return data / "serving.json"


def ports_of(data: Path) -> dict[str, int]:
    """`ssh_port`, `http_port` and `pid` of the running server; empty while none runs."""
    try:
        return dict(json.loads(port_file(data).read_text()))
    except (OSError, ValueError):
        return {}
