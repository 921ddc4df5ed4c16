"""Shell lines of pushed code, read just far enough to know what may be said about them."""

import re
from dataclasses import dataclass

_KEYWORDS = re.compile(
    r"[.:\[{}!]|alias|bg|break|builtin|case|cd|command|continue|do|done|elif|else|eval|exec|exit|export|false|fg|fi|for|"
    r"function|getopts|hash|if|jobs|local|read|readonly|return|select|set|shift|source|test|then|time|times|trap|true|"
    r"type|ulimit|umask|unalias|unset|until|wait|while"
)
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=(?:[^\s'\"\\`$;&|<>(){}]|\$[A-Za-z_]\w*)*")
_TOKEN = re.compile(
    r"""(?P<word>'[^']*' | "(?:[^"\\`$] | \\. | \$(?!\())*" | \\. | \$\{[^}`$(]*\} | \$(?!\() | [^'"\\`$;&|<>(){}\#\n])
    | (?P<joint>&&) | (?P<other>.)""",
    re.DOTALL | re.VERBOSE,
)


@dataclass(frozen=True)
class _Scan:
    """Where the top-level `&&` are, and whether anything else than simple commands was met."""

    joints: tuple[int, ...]
    simple: bool


def exec_line(command: str) -> str:
    """The line with `exec` before its last simple command, so that signals reach the program and not the shell.

    A line with pipes, redirections, groups, background jobs or shell built-ins at its end is left as it is.
    """
    scan = _scan(command)
    if not scan.simple:
        return command
    start = scan.joints[-1] if scan.joints else 0
    before, last = command[:start], command[start:]
    prefix, words = _split_assignments(last)
    first = re.match(r"[^\s]+", words)
    if first is None or _KEYWORDS.fullmatch(first[0]) or "=" in first[0]:
        return command
    return f"{before}{prefix}exec {words}"


def _split_assignments(text: str) -> tuple[str, str]:
    """Leading blanks and `NAME=value ` words, and the rest."""
    end = len(text) - len(text.lstrip())
    while match := _ASSIGNMENT.match(text, end):
        after = re.match(r"\s+", text[match.end() :])
        if after is None:
            break
        end = match.end() + after.end()
    return text[:end], text[end:]


def _scan(command: str) -> _Scan:
    tokens = list(_TOKEN.finditer(command))
    return _Scan(
        tuple(token.end() for token in tokens if token.lastgroup == "joint"),
        simple=not any(token.lastgroup == "other" for token in tokens),
    )
