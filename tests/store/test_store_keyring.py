"""The key file: made once, checked, never guessed."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cygni.domain.models import App
from cygni.store import DatabaseDamagedError, KeyFileError, Store
from cygni.store.keyring import KEY_BYTES, Keyring, load, load_or_create, new_line

KEY = bytes(range(KEY_BYTES))


@given(st.text(), st.text())
def test_what_was_sealed_opens_in_its_context_only(plain: str, context: str) -> None:
    ring = Keyring([KEY])
    sealed = ring.seal(plain, context)
    assert ring.open(sealed, context) == plain
    with pytest.raises(DatabaseDamagedError):
        ring.open(sealed, context + "x")


@given(st.integers(min_value=0), st.integers(min_value=1, max_value=255))
def test_no_byte_of_a_sealed_value_can_be_changed(position: int, change: int) -> None:
    ring = Keyring([KEY])
    sealed = bytearray(ring.seal("secret", "context"))
    sealed[position % len(sealed)] ^= change
    with pytest.raises((DatabaseDamagedError, KeyFileError)):
        ring.open(bytes(sealed), "context")


def test_sealing_twice_gives_two_values() -> None:
    ring = Keyring([KEY])
    assert ring.seal("a", "c") != ring.seal("a", "c")


def test_a_new_key_on_top_seals_and_the_old_one_still_opens() -> None:
    old, both = Keyring([KEY]), Keyring([KEY[::-1], KEY])
    assert both.open(old.seal("a", "c"), "c") == "a"
    with pytest.raises(KeyFileError):
        old.open(both.seal("a", "c"), "c")


def test_the_file_is_made_once_for_its_owner_only(key_file: Path) -> None:
    load_or_create(key_file)
    content = key_file.read_bytes()
    load_or_create(key_file)
    assert key_file.read_bytes() == content
    assert key_file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in key_file.parent.iterdir()] == [key_file.name]


def test_threads_that_make_it_at_once_get_the_same(key_file: Path) -> None:
    rings: list[Keyring] = []
    threads = [threading.Thread(target=lambda: rings.append(load_or_create(key_file))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert {ring.open(rings[0].seal("a", "c"), "c") for ring in rings} == {"a"}


@pytest.mark.parametrize(
    "content",
    [b"", b"# nothing\n", b"rubbish\n", b"\xff\xfe\x00", b"12345678 !!!!\n", b"12345678 AAAA\n"],
    ids=["empty", "comments", "rubbish", "binary", "not base64", "too short"],
)
async def test_a_damaged_key_file_is_named_with_what_to_do(
    store: Store, url: str, key_file: Path, content: bytes
) -> None:
    key_file.write_bytes(content)
    with pytest.raises(KeyFileError, match=r"secret\.key.*Restore"):
        await Store.open(url, key_file)


def test_one_wrong_letter_is_found_and_the_key_is_not_shown(key_file: Path) -> None:
    key_id, encoded = new_line().split()
    swapped = ("B" if encoded[0] != "B" else "C") + encoded[1:]
    key_file.write_text(f"# heading\n{key_id} {swapped}\n")
    key_file.chmod(0o600)
    with pytest.raises(KeyFileError, match="line 2") as raised:
        load(key_file)
    assert swapped not in str(raised.value)
    assert raised.value.__cause__ is None


async def test_a_key_file_that_others_can_read_is_refused(store: Store, url: str, key_file: Path) -> None:
    key_file.chmod(0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        await Store.open(url, key_file)


async def test_a_missing_key_file_is_not_made_anew_for_a_database_with_values(
    store: Store, url: str, key_file: Path
) -> None:
    key_file.unlink()
    with pytest.raises(KeyFileError, match="missing"):
        await Store.open(url, key_file)
    assert not key_file.exists()


async def test_the_key_file_of_another_database_is_refused(store: Store, url: str, key_file: Path) -> None:
    key_file.unlink()
    load_or_create(key_file)
    with pytest.raises(KeyFileError, match="not the key file of this database"):
        await Store.open(url, key_file)


async def test_a_store_reads_old_values_after_its_key_was_rotated(
    store: Store, shop: App, url: str, key_file: Path
) -> None:
    await store.config.change(shop.id, {"OLD": "1"}, author="ann", job_kind=None)
    key_file.write_text(new_line() + key_file.read_text())
    rotated = await Store.open(url, key_file)
    await rotated.config.change(shop.id, {"NEW": "2"}, author="ann", job_kind=None)
    assert await rotated.config.get(shop.id) == {"NEW": "2", "OLD": "1"}
    await rotated.close()
