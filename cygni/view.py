"""What the client's program knows and the server cannot: its terminal, and the app its directory belongs to.

`cygni` on a laptop and on the server's own shell puts one word before the command: `--client=app:shop,
columns:120,colour,interactive`. Plain `ssh` does not, and gets plain text of any width.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from cygni.domain.names import is_app_name

PREFIX = "--client="
WIDEST = 1000
BOLD, RESET = "\x1b[1m", "\x1b[0m"
COLOURS = ("\x1b[36m", "\x1b[33m", "\x1b[32m", "\x1b[35m", "\x1b[34m", "\x1b[31m")


@dataclass(frozen=True)
class View:
    """How to show things to this client. `columns` None: as wide as need be."""

    app: str | None = None
    columns: int | None = None
    colour: bool = False
    interactive: bool = False
    """Whether somebody can answer a question on standard input."""

    def word(self) -> str:
        """The word that carries this over a command line."""
        parts = [
            f"app:{self.app}" if self.app else "",
            f"columns:{self.columns}" if self.columns else "",
            "colour" if self.colour else "",
            "interactive" if self.interactive else "",
        ]
        return PREFIX + ",".join(part for part in parts if part)

    def heading(self, text: str) -> str:
        """A heading, bold on a terminal."""
        return f"{BOLD}{text}{RESET}" if self.colour else text

    def tinted(self, text: str, key: str) -> str:
        """A text in the colour that belongs to `key`, on a terminal."""
        if not self.colour:
            return text
        return f"{COLOURS[sum(key.encode()) % len(COLOURS)]}{text}{RESET}"

    def fit(self, line: str) -> str:
        """A line cut to the terminal's width."""
        if self.columns is None or len(line) <= self.columns:
            return line
        return line[: max(1, self.columns - 1)] + "…"


def take_view(words: Sequence[str]) -> tuple[list[str], View]:
    """Separate the client's word from the command line; what is unknown in it is left out."""
    if not words or not words[0].startswith(PREFIX):
        return list(words), View()
    facts = dict(_fact(part) for part in words[0].removeprefix(PREFIX).split(","))
    columns = facts.get("columns", "")
    app = facts.get("app")
    return list(words[1:]), View(
        app=app if app and is_app_name(app) else None,
        columns=int(columns) if columns.isdecimal() and 20 <= int(columns[:6]) <= WIDEST else None,
        colour="colour" in facts,
        interactive="interactive" in facts,
    )


def _fact(part: str) -> tuple[str, str]:
    name, _, value = part.partition(":")
    return name, value
