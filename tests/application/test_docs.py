"""The generated references are what the code says."""

from pathlib import Path

from cygni.docs import check_or_write

ROOT = Path(__file__).parents[2]


def test_the_references_are_up_to_date() -> None:
    assert check_or_write(ROOT, write=False) == []


def test_a_stale_reference_is_found_and_written(tmp_path: Path) -> None:
    assert len(check_or_write(tmp_path, write=False)) == 2
    assert len(check_or_write(tmp_path, write=True)) == 2
    assert check_or_write(tmp_path, write=False) == []
