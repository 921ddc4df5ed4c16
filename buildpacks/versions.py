"""Versions and the two range notations we meet: PEP 440 specifiers and npm's semver ranges.

A range is a union of intervals over (major, minor, patch); both notations become that, so asking "can 3.11 be in it"
or "which major of these is the newest allowed" is one question.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

Version = tuple[int, int, int]

_END: Version = (1 << 30, 0, 0)
_START: Version = (0, 0, 0)
_PART = r"(?:0|[1-9]\d{0,8})"
_PARTIAL = re.compile(
    rf"v?({_PART}|[xX*])(?:\.({_PART}|[xX*]))?(?:\.({_PART}|[xX*]))?(?:[-+][0-9A-Za-z.+-]+)?"
)
_NPM_HYPHEN = re.compile(r"(\S+)\s+-\s+(\S+)")
_NPM_PART = re.compile(r"\s*(>=|<=|>|<|=|\^|~>|~)?\s*([^\s<>=^~]+)")
_PEP440_CLAUSE = re.compile(
    rf"\s*(~=|===|==|!=|<=|>=|<|>)\s*({_PART}(?:\.{_PART}){{0,2}})(\.\*)?(?:[a-z0-9.+-]*)\s*"
)


class VersionError(ValueError):
    """A text is no version or range."""


@dataclass(frozen=True)
class Interval:
    """Versions from `low` up to, not including, `high`."""

    low: Version = _START
    high: Version = _END

    def __and__(self, other: "Interval") -> "Interval":
        return Interval(max(self.low, other.low), min(self.high, other.high))

    def __bool__(self) -> bool:
        return self.low < self.high

    @property
    def npm(self) -> str:
        """As npm writes it."""
        low = f">={'.'.join(map(str, self.low))}"
        return low if self.high == _END else f"{low} <{'.'.join(map(str, self.high))}"


@dataclass(frozen=True)
class Range:
    """A union of intervals; versions in none of them are not allowed."""

    intervals: tuple[Interval, ...]

    def __and__(self, other: "Range") -> "Range":
        both = (mine & theirs for mine in self.intervals for theirs in other.intervals)
        return Range(tuple(interval for interval in both if interval))

    def __bool__(self) -> bool:
        return bool(self.intervals)

    def __contains__(self, version: Version) -> bool:
        return any(interval.low <= version < interval.high for interval in self.intervals)

    @property
    def npm(self) -> str:
        """As npm writes it; made of digits, dots, `<>=|` and spaces only."""
        return " || ".join(interval.npm for interval in self.intervals)


ANY = Range((Interval(),))


def major(number: int) -> Range:
    """Every version of a major line."""
    return Range((Interval((number, 0, 0), (number + 1, 0, 0)),))


def minor(first: int, second: int) -> Range:
    """Every version of a minor line."""
    return Range((Interval((first, second, 0), (first, second + 1, 0)),))


def newest_major(allowed: Range, majors: Iterable[int]) -> int | None:
    """The first of `majors`, in their order, that the range allows a version of."""
    return next((number for number in majors if allowed & major(number)), None)


def parse_npm(text: str) -> Range:
    """An npm range: `22.x`, `^20.1`, `>=18 <21`, `18 || 20`, `18 - 20`, `*`.

    Raises:
        VersionError: it is none (tags such as `latest` included).
    """
    intervals = tuple(interval for part in text.split("||") for interval in (_npm_set(part),) if interval)
    return Range(intervals)


def parse_pep440(text: str) -> Range:
    """A version specifier: `>=3.9,<4`, `~=3.11`, `==3.12.*`, `!=3.11.1`; pre-releases count as their release.

    Raises:
        VersionError: it is none.
    """
    allowed = ANY
    for clause in filter(None, map(str.strip, text.split(","))):
        match = _PEP440_CLAUSE.fullmatch(clause)
        if match is None:
            raise VersionError(text)
        allowed &= _pep440_clause(
            match[1], [int(part) for part in match[2].split(".")], wildcard=bool(match[3])
        )
    return allowed


def _npm_set(text: str) -> Interval:
    hyphen = _NPM_HYPHEN.fullmatch(text.strip())
    if hyphen:
        return Interval(_partial(hyphen[1]).low, _partial(hyphen[2]).high)
    allowed, rest = Interval(), text.strip()
    while rest:
        match = _NPM_PART.match(rest)
        if match is None:
            raise VersionError(text)
        allowed &= _npm_comparator(match[1] or "=", match[2])
        rest = rest[match.end() :].strip()
    return allowed


def _npm_comparator(operator: str, text: str) -> Interval:
    span = _partial(text)
    low, high = span.low, span.high
    by_operator = {
        "=": span,
        ">=": Interval(low, _END),
        ">": Interval(high, _END),
        "<": Interval(_START, low),
        "<=": Interval(_START, high),
        "^": Interval(low, max(_caret_end(low), high)),
    }
    return by_operator.get(operator, Interval(low, max((low[0], low[1] + 1, 0), high)))


def _caret_end(low: Version) -> Version:
    """A caret keeps the leftmost part that is not zero."""
    if low[0]:
        return (low[0] + 1, 0, 0)
    return (0, low[1] + 1, 0) if low[1] else (0, 0, low[2] + 1)


def _partial(text: str) -> Interval:
    """What a version with missing or `x` parts stands for."""
    match = _PARTIAL.fullmatch(text)
    if match is None:
        raise VersionError(text)
    numbers: list[int] = []
    for part in match.groups():
        if part is None or part in {"x", "X", "*"}:
            break
        numbers.append(int(part))
    return _span(numbers)


def _span(numbers: list[int]) -> Interval:
    """Every version that starts with these numbers."""
    if not numbers:
        return Interval()
    following = [*numbers[:-1], numbers[-1] + 1]
    return Interval(_full(numbers), _full(following))


def _full(numbers: list[int]) -> Version:
    first, second, third = [*numbers, 0, 0, 0][:3]
    return first, second, third


def _pep440_clause(operator: str, numbers: list[int], *, wildcard: bool) -> Range:
    exact = Interval(_full(numbers), (*_full(numbers)[:2], _full(numbers)[2] + 1))
    span = _span(numbers) if wildcard else exact
    match operator:
        case "==" | "===":
            intervals = [span]
        case "!=":
            intervals = [Interval(_START, span.low), Interval(span.high, _END)]
        case ">=":
            intervals = [Interval(span.low, _END)]
        case "<=":
            intervals = [Interval(_START, exact.high)]
        case ">":
            intervals = [Interval(exact.high, _END)]
        case "<":
            intervals = [Interval(_START, span.low)]
        case _:
            intervals = [Interval(span.low, _span(numbers[:-1]).high)]
    return Range(tuple(interval for interval in intervals if interval))
