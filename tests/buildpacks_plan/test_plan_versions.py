"""Both range notations become intervals; the answers agree with what pip and npm document."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpacks.versions import VersionError, major, minor, newest_major, parse_npm, parse_pep440


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("22.x", (22, 5, 0), (23, 0, 0)),
        ("22", (22, 5, 0), (21, 9, 9)),
        ("v22.1.0", (22, 1, 0), (22, 1, 1)),
        ("= 0.8.x", (0, 8, 3), (0, 9, 0)),
        ("^20.1", (20, 9, 0), (20, 0, 9)),
        ("^0.2.3", (0, 2, 9), (0, 3, 0)),
        ("^0.0.3", (0, 0, 3), (0, 0, 4)),
        ("~1.2.3", (1, 2, 9), (1, 3, 0)),
        ("~1", (1, 9, 0), (2, 0, 0)),
        (">=18 <21", (20, 9, 9), (21, 0, 0)),
        (">= 18", (99, 0, 0), (17, 0, 0)),
        (">18", (19, 0, 0), (18, 9, 9)),
        ("<=18", (18, 9, 9), (19, 0, 0)),
        ("18 || 20", (20, 1, 1), (19, 0, 0)),
        ("18 - 20", (20, 9, 9), (21, 0, 0)),
        ("*", (1, 0, 0), (1 << 30, 0, 0)),
        ("", (1, 0, 0), (1 << 30, 0, 0)),
        (">=18.0.0-rc.1", (18, 0, 0), (17, 9, 9)),
    ],
)
def test_npm_ranges(text: str, inside: tuple[int, int, int], outside: tuple[int, int, int]) -> None:
    assert inside in parse_npm(text)
    assert outside not in parse_npm(text)


@pytest.mark.parametrize(
    "text", ["latest", "stable", "1.2.3.4", "22,23", "22;x", ">", "22' ; rm", "$(id)", "22\n23x"]
)
def test_what_is_no_npm_range(text: str) -> None:
    with pytest.raises(VersionError):
        parse_npm(text)


@given(st.text(alphabet="0123456789.xX*^~<>=|- v\n'\"$`;&", max_size=30))
def test_a_range_is_written_in_harmless_characters(text: str) -> None:
    try:
        written = parse_npm(text).npm
    except VersionError:
        return
    assert set(written) <= set("0123456789.<>=| ")


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=3))
def test_writing_and_reading_a_range_keeps_it(versions: list[tuple[int, int, int]]) -> None:
    allowed = parse_npm(" || ".join("^" + ".".join(map(str, version)) for version in versions))
    again = parse_npm(allowed.npm)
    assert all((version in again) == (version in allowed) for version in versions)


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        (">=3.9", True),
        (">=3.9,<4", True),
        ("~=3.11", True),
        ("~=3.11.0", True),
        ("==3.11.*", True),
        ("==3.12.*", False),
        ("!=3.11.*", False),
        ("!=3.11.4", True),
        ("<3.11", False),
        (">3.11.1, <=3.11.2", True),
        (">=3.12.0rc1", False),
        ("", True),
    ],
)
def test_pep440_specifiers_against_the_311_line(text: str, allowed: bool) -> None:
    assert bool(parse_pep440(text) & minor(3, 11)) is allowed


@pytest.mark.parametrize("text", ["3.11", ">=three", "=>3.9", "^3.9"])
def test_what_is_no_specifier(text: str) -> None:
    with pytest.raises(VersionError):
        parse_pep440(text)


def test_the_preferred_major_that_is_allowed_is_chosen() -> None:
    assert newest_major(parse_npm(">=20"), (24, 22, 26)) == 24
    assert newest_major(parse_npm(">=25"), (24, 22, 26)) == 26
    assert newest_major(parse_npm("<10"), (24, 22, 26)) is None
    assert not parse_npm("22") & major(23)
