"""What the guides tell people to type is understood, and their links lead somewhere."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from cygni.cli import PROGRAMS
from cygni.commands import registry
from cygni.commands.parser import parse
from cygni.remote import take_remote_flag

ROOT = Path(__file__).parents[2]
GUIDES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / "docs" / "how-to").glob("*.md")),
]


def typed(text: str) -> Iterator[str]:
    """Command lines in blocks of code, and those in backticks that name `cygni` and a command."""
    for block in re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        yield from (line for line in block.splitlines() if re.match(r"(sudo )?cygni \S", line))
    yield from re.findall(r"`((?:sudo )?cygni [a-z][^`]*)`", text)


def commands() -> Iterator[tuple[str, str]]:
    for guide in GUIDES:
        for line in typed(guide.read_text()):
            yield guide.name, line


@pytest.mark.parametrize(("guide", "line"), list(commands()))
def test_a_command_in_a_guide_parses(guide: str, line: str) -> None:
    plain = re.split(r" [<>|] ", line.removeprefix("sudo ").replace("…", "x"))[0]
    words, _ = take_remote_flag(shlex.split(plain, comments=True)[1:])
    if words[0] in PROGRAMS:
        return
    call = parse(registry, words, "shop")
    assert call.command is registry.find(words[0]), guide


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: path.name)
def test_links_of_a_guide_lead_to_files(guide: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", guide.read_text()):
        assert (guide.parent / target).exists(), target
