"""Config as files: dotenv and JSON, both ways. What is written reads back as it was."""

import hashlib
import json
import re
from collections.abc import Mapping

from cygni.domain.errors import UserError

_LINE = re.compile(r"\s*(?:export\s+)?([^=\s]+)\s*=[ \t]*")
_BARE = re.compile(r"[A-Za-z0-9_./:@%+,=^~-]*")
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$", "`": "`"}
_WRITTEN = {"\n": "\\n", "\r": "\\r", "\t": "\\t", '"': '\\"', "\\": "\\\\", "$": "\\$", "`": "\\`"}


class ConfigFileError(UserError):
    """The text is neither; names the line, never a value."""


def parse(text: str) -> dict[str, str]:
    """Read a JSON object of strings, or dotenv: `NAME=value`, quotes, `export`, `#` comments.

    Raises:
        ConfigFileError: with the line that cannot be read.
    """
    return _parse_json(text) if text.lstrip().startswith("{") else _Dotenv(text).parse()


def dump(values: Mapping[str, str]) -> str:
    """Write dotenv, sorted by name; each value on one line."""
    return "".join(f"{name}={_quoted(value)}\n" for name, value in sorted(values.items()))


def digest(values: Mapping[str, str]) -> str:
    """What tells two states of a config apart."""
    return hashlib.sha256(dump(values).encode(errors="replace")).hexdigest()[:16]


def _quoted(value: str) -> str:
    if _BARE.fullmatch(value):
        return value
    return '"' + "".join(_WRITTEN.get(character, character) for character in value) + '"'


def _parse_json(text: str) -> dict[str, str]:
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ConfigFileError(f"This is no JSON: line {error.lineno}, {error.msg}.") from None
    wrong = [name for name, value in found.items() if not isinstance(value, str)]
    if wrong:
        raise ConfigFileError(f"The value of {wrong[0]} is no string. Write numbers and booleans in quotes.")
    return dict(found)


class _Dotenv:
    """A reader of one text; `_at` is where it is."""

    def __init__(self, text: str) -> None:
        self._text = text.replace("\r\n", "\n")
        self._at = 0

    def parse(self) -> dict[str, str]:
        values: dict[str, str] = {}
        while self._at < len(self._text):
            if self._skip_empty():
                continue
            match = _LINE.match(self._text, self._at)
            if match is None or "\n" in match[0].strip():
                raise self._wrong("is not NAME=value")
            self._at = match.end()
            values[match[1]] = self._value()
        return values

    def _skip_empty(self) -> bool:
        line = self._rest_of_line().strip()
        if line and not line.startswith("#"):
            return False
        self._next_line()
        return True

    def _value(self) -> str:
        quote = self._text[self._at : self._at + 1]
        if quote in {"'", '"'}:
            return self._quoted_value(quote)
        line = self._rest_of_line()
        self._next_line()
        return re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()

    def _quoted_value(self, quote: str) -> str:
        begin = self._at
        self._at += 1
        value: list[str] = []
        while (character := self._text[self._at : self._at + 1]) != quote:
            if not character:
                self._at = begin
                raise self._wrong("opens a quote that is never closed")
            if character == "\\" and quote == '"' and self._text[self._at + 1 : self._at + 2] in _ESCAPES:
                self._at += 1
                character = _ESCAPES[self._text[self._at]]
            value.append(character)
            self._at += 1
        self._at += 1
        rest = self._rest_of_line().strip()
        if rest and not rest.startswith("#"):
            raise self._wrong("goes on behind its closing quote")
        self._next_line()
        return "".join(value)

    def _rest_of_line(self) -> str:
        return self._text[self._at :].split("\n", 1)[0]

    def _next_line(self) -> None:
        end = self._text.find("\n", self._at)
        self._at = len(self._text) if end < 0 else end + 1

    def _wrong(self, what: str) -> ConfigFileError:
        number = self._text.count("\n", 0, self._at) + 1
        return ConfigFileError(f"Line {number} {what}.")
