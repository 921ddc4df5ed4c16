"""The generated references are what the code says."""

from pathlib import Path

from cygni.docs import check_or_write

ROOT = Path(__file__).parents[2]


def test_the_references_are_up_to_date() -> None:
    assert check_or_write(ROOT, write=False) == []


def test_a_stale_reference_is_found_and_written(tmp_path: Path) -> None:
    stale = check_or_write(tmp_path, write=False)
    assert {"docs/reference/commands.md", "docs/languages/python.md", "docs/reference/cygni-toml.md"} <= set(
        stale
    )
    assert check_or_write(tmp_path, write=True) == stale
    assert check_or_write(tmp_path, write=False) == []
