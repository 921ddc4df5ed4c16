"""`.dockerignore`: which paths of a tree a build does not get.

Source: Docker's build documentation ("`.dockerignore` files"). A leading and a trailing slash mean nothing, `**` spans
directories, `!` brings back, and the last pattern that matches a path or a parent of it decides.

Patterns come from a pushed tree, so matching takes linear time for each name: stars never backtrack.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from posixpath import normpath

MAX_PATTERNS = 1000

Ignored = Callable[[str], bool]
_Segment = re.Pattern[str] | None  # None is `**`


def parse(text: str) -> Ignored | None:
    """A test for paths, None when nothing is ignored. A pattern that is not valid is skipped.

    At most `MAX_PATTERNS` patterns count.
    """
    patterns = list(_patterns(text))[:MAX_PATTERNS]
    if not patterns:
        return None

    def ignored(path: str) -> bool:
        names = path.split("/")
        return next((hidden for hidden, segments in reversed(patterns) if _matches(segments, names)), False)

    return ignored


def _patterns(text: str) -> Iterator[tuple[bool, list[_Segment]]]:
    for line in text.removeprefix("\ufeff").splitlines():
        pattern = "" if line.startswith("#") else line.strip()
        cleaned = normpath("/" + pattern.removeprefix("!").strip()).strip("/")
        if not cleaned:
            continue
        try:
            yield not pattern.startswith("!"), list(_segments(cleaned))
        except re.error:
            continue


def _segments(pattern: str) -> Iterator[_Segment]:
    for part in pattern.split("/"):
        if part.startswith("**"):
            yield None
        if part != "**":
            yield re.compile(_translate(part), re.DOTALL)


def _matches(segments: Sequence[_Segment], names: Sequence[str]) -> bool:
    """Whether the pattern matches the path or one of its parents; `reached` holds the prefixes it can have used."""
    reached = {0}
    for number, segment in enumerate(segments):
        if segment is None:
            # A `**` at the end stands for something below its parent, not for the parent itself.
            first = min(reached) + (number == len(segments) - 1 > 0)
            reached = set(range(first, len(names) + 1))
        else:
            reached = {at + 1 for at in reached if at < len(names) and segment.fullmatch(names[at])}
        if not reached:
            return False
    return True


def _translate(part: str) -> str:
    """A regular expression for one name. After a star the first place that fits is taken and kept: `(?>…)`."""
    chunks = [""]
    for token in re.findall(r"\\.|\[[^\]]+\]|.", part, re.DOTALL):
        if token == "*":  # noqa: S105 - a glob
            chunks.append("")
        else:
            chunks[-1] += _token(token)
    if len(chunks) == 1:
        return chunks[0]
    middle = "".join(f"(?>.*?{chunk})" for chunk in chunks[1:-1] if chunk)
    return f"{chunks[0]}{middle}.*{chunks[-1]}"


def _token(token: str) -> str:
    if token == "?":  # noqa: S105 - a glob
        return "."
    if token == "[":  # noqa: S105 - a glob
        raise re.error("unclosed class")
    if len(token) > 2 and token[0] == "[":
        negated = token[1] == "^"
        body = re.sub(r"([\[&~|])", r"\\\1", token[2:-1] if negated else token[1:-1])
        body = body.replace("--", r"-\-")  # the end of a range, and not a difference of sets
        return f"[{'^' if negated else ''}{body}]"
    return re.escape(token.removeprefix("\\") or token)
