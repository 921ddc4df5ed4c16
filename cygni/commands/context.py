"""What a command gets: who calls, where output goes, and the platform's services."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from cygni.audit import Entry
from cygni.domain.models import User
from cygni.services import Services
from cygni.view import View
from gitserver.ports import Terminal


class Ends(Protocol):
    """A command's input and output, whatever the transport."""

    async def read(self, limit: int) -> bytes:
        """Up to `limit` bytes of input, empty at its end."""
        ...

    async def out(self, data: bytes) -> None:
        """Data."""

    async def err(self, data: bytes) -> None:
        """Progress and problems."""

    @property
    def terminal(self) -> Terminal | None:
        """The person's terminal as it is now, None without one."""
        ...

    def take_terminal(self) -> Terminal | None:
        """Get every byte as it is from now on; without it, lines and Ctrl-C are taken care of."""
        ...

    async def resized(self) -> Terminal:
        """The terminal after its next change of size."""
        ...

    async def signalled(self) -> str:
        """The next signal that the person sends, without `SIG`."""
        ...


INPUT_LIMIT = 1 << 20


@dataclass(frozen=True)
class Context:
    """One call of a command."""

    user: User
    ends: Ends
    services: Services
    address: str | None = None
    """From where the command came; None for the server's own shell."""
    view: View = field(default_factory=View)
    entry: Entry | None = None
    """Its line in the audit trail, for commands that leave one."""

    async def note(self, detail: str) -> None:
        """Write what the command is about into the audit trail, before it is done. No config values."""
        assert self.entry is not None, "the command is not declared as audited"
        await self.entry.begin(detail)

    async def print(self, *lines: str) -> None:
        """Write lines of data to standard output."""
        await self.ends.out("".join(f"{line}\n" for line in lines).encode())

    async def tell(self, *lines: str) -> None:
        """Write lines of progress to standard error."""
        await self.ends.err("".join(f"{line}\n" for line in lines).encode())

    async def print_table(self, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Write aligned columns, cut to the width of a terminal."""
        first, *rest = table(headings, rows)
        await self.print(self.view.heading(self.view.fit(first)), *(self.view.fit(line) for line in rest))

    async def print_facts(self, heading: str, facts: Iterable[tuple[str, str]]) -> None:
        """Write `=== heading`, an empty line and aligned facts."""
        await self.print(self.view.heading(f"=== {heading}"), "", *pairs(facts))

    async def print_json(self, value: Any) -> None:
        """Write one JSON document."""
        await self.print(json.dumps(value, indent=2, default=_plain))

    async def read_input(self) -> bytes:
        """Read all of standard input, at most 1 MiB."""
        chunks: list[bytes] = []
        while sum(map(len, chunks)) < INPUT_LIMIT and (chunk := await self.ends.read(65536)):
            chunks.append(chunk)
        return b"".join(chunks)[:INPUT_LIMIT]

    async def ask(self, question: str) -> str | None:
        """Ask on standard error and return the answered line; None where nobody can answer."""
        if not self.view.interactive:
            return None
        await self.ends.err(question.encode())
        answer = b""
        while b"\n" not in answer and len(answer) < 1000 and (data := await self.ends.read(1000)):
            answer += data
        return answer.partition(b"\n")[0].decode(errors="replace").strip()

    async def follow(self, lines: AsyncIterator[str], sink: Callable[[str], Awaitable[None]]) -> None:
        """Pass lines on as they come."""
        async for line in lines:
            await sink(line)


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Aligned columns, two spaces apart, without trailing space."""
    cells = [list(headings), *[list(row) for row in rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(headings))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def pairs(values: Iterable[tuple[str, str]]) -> list[str]:
    """`name:   value` lines with the values aligned."""
    items = list(values)
    width = max((len(name) for name, _ in items), default=0) + 1
    return [f"{name + ':':<{width}} {value}".rstrip() for name, value in items]


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """`2026/08/04 14:53:15 +0000 (~ 1h ago)`; only the date beyond 25 hours."""
    if moment is None:
        return "-"
    seconds = int(((now or datetime.now(UTC)) - moment).total_seconds())
    stamp = moment.astimezone(UTC).strftime("%Y/%m/%d %H:%M:%S +0000")
    if seconds < 60:
        return f"{stamp} (~ {max(seconds, 0)}s ago)"
    if seconds < 3600:
        return f"{stamp} (~ {seconds // 60}m ago)"
    if seconds < 25 * 3600:
        return f"{stamp} (~ {seconds // 3600}h ago)"
    return moment.astimezone(UTC).strftime("%Y/%m/%d")
