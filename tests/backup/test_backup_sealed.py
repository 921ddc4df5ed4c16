"""The encrypted container: what was written is read, and nothing else ever is."""

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cygni.backup import sealed as container
from cygni.backup.errors import BackupError
from cygni.backup.sealed import CHUNK, TAG, OpeningReader, SealingWriter

HEADER = 8 + 3 + 16 + 7 + 32


@pytest.fixture(autouse=True)
def _cheap_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "LOG_N", 4)


def seal(plain: bytes, passphrase: str = "correct horse", step: int = 1 << 20) -> bytes:
    file = io.BytesIO()
    with SealingWriter(file, passphrase) as writer:
        for start in range(0, len(plain), step):
            writer.write(plain[start : start + step])
    return file.getvalue()


def unseal(data: bytes, passphrase: str = "correct horse") -> bytes:
    with OpeningReader(io.BytesIO(data), passphrase, "FILE") as reader:
        return reader.readall()


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 3 * CHUNK + 7])
@pytest.mark.parametrize("step", [1000, CHUNK, 1 << 20])
def test_every_size_comes_back(size: int, step: int) -> None:
    plain = bytes(n % 251 for n in range(size))
    data = seal(plain, step=step)
    assert unseal(data) == plain
    assert len(data) == HEADER + size + TAG * (size // CHUNK + 1)


def test_the_same_twice_differs_and_shows_nothing() -> None:
    plain = b"config=hunter2 " * 1000
    first, second = seal(plain), seal(plain)
    assert first[8:] != second[8:]
    assert b"hunter2" not in first


def test_a_wrong_passphrase_is_told_from_damage() -> None:
    with pytest.raises(BackupError, match="not the passphrase of FILE"):
        unseal(seal(b"x"), "wrong")


@pytest.mark.parametrize("cut", [1, TAG, TAG + 1, CHUNK + TAG, CHUNK + TAG + 5])
def test_a_cut_end_is_noticed(cut: int) -> None:
    data = seal(bytes(2 * CHUNK + 5))
    with pytest.raises(BackupError, match=r"incomplete: its end is missing"):
        unseal(data[:-cut])


@pytest.mark.parametrize("size", [0, 7, 20, HEADER - 1])
def test_a_file_that_is_only_a_beginning_is_refused(size: int) -> None:
    with pytest.raises(BackupError, match=r"incomplete|not a backup"):
        unseal(seal(b"")[:size])


def test_another_file_is_no_backup() -> None:
    with pytest.raises(BackupError, match="not a backup of Cygni"):
        unseal(b"PK\3\4" + bytes(1000))


def test_a_newer_format_says_so() -> None:
    data = seal(b"x")
    with pytest.raises(BackupError, match="newer Cygni"):
        unseal(data[:7] + b"2" + data[8:])


def test_chunks_cannot_change_places_or_files() -> None:
    plain = bytes(3 * CHUNK)
    data, other = seal(plain), seal(plain)
    size = CHUNK + TAG
    first, second = slice(HEADER, HEADER + size), slice(HEADER + size, HEADER + 2 * size)
    swapped = data[:HEADER] + data[second] + data[first] + data[HEADER + 2 * size :]
    foreign = data[:HEADER] + other[first] + data[HEADER + size :]
    for forged in (swapped, foreign):
        with pytest.raises(BackupError, match="damaged"):
            unseal(forged)


@settings(deadline=None, max_examples=60)
@given(position=st.integers(min_value=0), change=st.integers(min_value=1, max_value=255))
def test_no_byte_can_be_changed(position: int, change: int) -> None:
    data = bytearray(seal(b"secret" * 30_000))
    data[position % len(data)] ^= change
    with pytest.raises(BackupError):
        unseal(bytes(data))


def test_memory_stays_small_whatever_the_size(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "big"
    block = bytes(1 << 20)
    tracemalloc.start()
    try:
        with path.open("wb") as file, SealingWriter(file, "x") as writer:
            for _ in range(64):
                writer.write(block)
        with path.open("rb") as file, OpeningReader(file, "x", path) as reader:
            while reader.read(1 << 20):
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
