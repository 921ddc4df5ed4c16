"""Prints the part of requirements.lock that a server needs: what the project depends on, and what that depends on.

Needs Python 3.11 and nothing else, for it runs before anything is installed.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BUILD = {"setuptools"}
"""Builds the project itself where no wheel of it is there."""

_ENTRY = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?==")
_PARENT = re.compile(r"^\s+#\s+(?:via )?\s*([A-Za-z0-9][A-Za-z0-9._-]*)")


def canonical(name: str) -> str:
    """The name as package indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def entries(lock: str) -> dict[str, list[str]]:
    """Each requirement's lines by its name."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in lock.splitlines():
        if match := _ENTRY.match(line):
            lines = found.setdefault(canonical(match[1]), [])
        if line[:1] not in {"#", ""}:
            lines.append(line)
    return found


def wanted_by(lines: list[str]) -> set[str]:
    """Who a requirement is there for, from its `# via` comments."""
    comments = (line for line in lines if line.lstrip().startswith("#"))
    return {canonical(match[1]) for line in comments if (match := _PARENT.match(line))} - {"via"}


def runtime(lock: str, project: str) -> list[str]:
    """The lines of every requirement that is needed to run the project."""
    declared = tomllib.loads(project)["project"]["dependencies"]
    needed = {canonical(re.split(r"[\s\[<>=!~;]", each, maxsplit=1)[0]) for each in declared} | BUILD
    known = entries(lock)
    while more := {name for name, lines in known.items() if wanted_by(lines) & needed} - needed:
        needed |= more
    missing = needed - set(known)
    if missing:
        raise SystemExit(f"requirements.lock lacks {', '.join(sorted(missing))}")
    return [line for name, lines in known.items() if name in needed for line in lines]


if __name__ == "__main__":
    text = (ROOT / "requirements.lock").read_text(), (ROOT / "pyproject.toml").read_text()
    sys.stdout.write("\n".join([*runtime(*text), ""]))
