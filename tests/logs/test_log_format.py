from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cygni.logs.format import LINE_BYTES, decode, encode, format_record, instance_key, lines_of
from cygni.logs.records import LogRecord

AT = datetime(2012, 6, 5, 17, 47, 52, 123456, tzinfo=UTC)


def test_people_see_time_source_process_and_message() -> None:
    line = format_record(LogRecord(AT, "app", "web.4", "message", "container"))
    assert line == "2012-06-05T17:47:52.123456+00:00 app[web.4]: message"


def test_times_are_shown_in_utc_with_six_digits_always() -> None:
    at = datetime(2012, 6, 5, 19, 47, 52, tzinfo=timezone(timedelta(hours=2)))
    assert format_record(LogRecord(at, "app", "web.1", "")).startswith("2012-06-05T17:47:52.000000+00:00 ")


@given(text=st.text(), instance=st.text(max_size=70))
def test_what_is_stored_is_read_back_whatever_an_app_prints(text: str, instance: str) -> None:
    for piece in lines_of(LogRecord(AT, "app", "web.1", text, instance)):
        line = encode(piece)
        assert line.count(b"\n") == 1
        decoded = decode(line)
        assert decoded is not None
        record, key = decoded
        assert record.text == piece.text
        assert key == (instance_key(instance) if instance else "")


@given(text=st.text(min_size=1, max_size=50).map(lambda each: each * 1000))
def test_no_stored_line_is_longer_than_the_limit_and_nothing_is_lost(text: str) -> None:
    pieces = [piece.text for piece in lines_of(LogRecord(AT, "app", "web.1", text))]
    assert max(len(piece.encode()) for piece in pieces) <= LINE_BYTES
    if "\n" not in text and "\r" not in text:
        assert "".join(pieces) == text


def test_splitting_twice_changes_nothing() -> None:
    once = list(lines_of(LogRecord(AT, "app", "web.1", "é" * 20_001)))
    assert [again for piece in once for again in lines_of(piece)] == once
    assert len(once) == 5


def test_a_process_name_cannot_forge_another_source() -> None:
    for process in ["web.1]: x\n2012", "web 1", "", "a" * 81]:
        with pytest.raises(ValueError, match="not a log source"):
            encode(LogRecord(AT, "app", process, "text"))


@pytest.mark.parametrize(
    "line", [b"", b"\0" * 40, b"2012", b"9999-99-99T17:47:52.123456+00:00 app[web.1]: x\n", b"\xff\xfe\n"]
)
def test_a_damaged_line_is_not_a_record(line: bytes) -> None:
    assert decode(line) is None
