"""Variables and quotes in words of a Dockerfile, as BuildKit's shell lexer reads them, for names that must be known."""

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BRACED = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?:(:?[-+])([^{}$'\"\\`]*))?\}")
_WORD = re.compile(r"""\s*((?:[^\s'"\\`]|'[^'\\`]*'|"[^"\\`]*")+)""")
_LENGTH = 4096


class UnclearWordError(ValueError):
    """A word's value cannot be known before the build, or different parsers would read it differently."""


def expand(word: str, variables: Mapping[str, str | None], escape: str) -> str:
    """The value of a word.

    Args:
        word: as written.
        variables: values by name; None for one that only the builder knows. A name that is not there is empty.
        escape: the Dockerfile's escape character.

    Raises:
        UnclearWordError: it holds escapes, unknown variables, or an expansion that not every version has.
    """
    if escape in word or len(word) > _LENGTH:
        raise UnclearWordError("it holds an escape character")
    result, position, quote = "", 0, ""
    while position < len(word):
        character = word[position]
        position += 1
        if character in {"'", '"'} and quote in {"", character}:
            quote = "" if quote else character
        elif character == "$" and quote != "'":
            value, position = _variable(word, position, variables)
            result += value
        else:
            result += character
    if quote:
        raise UnclearWordError("a quote is not closed")
    return result


def split_words(text: str) -> list[str]:
    """Words between blanks, with quotes kept.

    Raises:
        UnclearWordError: it holds escapes or a quote that is not closed.
    """
    words: list[str] = []
    position, end = 0, len(text.rstrip())
    while position < end:
        match = _WORD.match(text, position)
        if match is None:
            raise UnclearWordError("it holds an escape character or a quote that is not closed")
        words.append(match[1])
        position = match.end()
    return words


def _variable(word: str, position: int, variables: Mapping[str, str | None]) -> tuple[str, int]:
    name = _NAME.match(word, position)
    if name is not None:
        return _value(name[0], variables), name.end()
    braced = _BRACED.match(word, position)
    if braced is None:
        raise UnclearWordError("it holds an expansion that cannot be followed")
    value = _value(braced[1], variables)
    if braced[2] is None:
        return value, braced.end()
    # `:-` and `:+` ask whether it is empty; `-` and `+` (newer versions only) whether it is set.
    if not braced[2].startswith(":"):
        raise UnclearWordError("it holds an expansion that not every version has")
    fallback = braced[3] or ""
    return (value or fallback if braced[2] == ":-" else fallback if value else ""), braced.end()


def _value(name: str, variables: Mapping[str, str | None]) -> str:
    value = variables.get(name, "")
    if value is None:
        raise UnclearWordError(f"the value of {name} is only known to the builder")
    return value
