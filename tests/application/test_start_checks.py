"""A server refuses a state that it would make worse, with what to do, and leaves it as it is."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from config import Settings
from cygni.start import StartError, check_state
from cygni.store import Store

CYGNI = Path(sys.executable).parent / "cygni"


async def make(data: Path) -> None:
    data.mkdir()
    store = await Store.open(f"sqlite:///{data / 'cygni.db'}", data / "secret.key")
    await store.apps.create("shop", (await store.users.ensure("ann")).id)
    await store.close()


def refused(data: Path, *words: str) -> str:
    before = contents(data)
    done = subprocess.run(
        [CYGNI, *words], capture_output=True, text=True, check=False, timeout=60,
        env={**os.environ, "CYGNI_DATA": str(data), "CYGNI_ENGINE": "memory", "CYGNI_SSH_PORT": "0", "CYGNI_HTTP_PORT": "0"},
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert all(line.startswith(" !     ") for line in done.stderr.splitlines()), done.stderr
    assert contents(data) == before
    return done.stderr


def contents(data: Path) -> dict[str, bytes]:
    ours = ("secret.key", "cygni.db", "cygni.db.moved")
    return {path.name: path.read_bytes() for path in data.iterdir() if path.name in ours}


async def test_a_damaged_database_names_the_way_back(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await make(data)
    with (data / "cygni.db").open("r+b") as file:
        file.seek(4096 * 2)
        file.write(b"\xff" * 4096 * 4)
    said = refused(data, "serve")
    assert "is damaged" in said
    assert "cygni restore DIR" in said


async def test_a_newer_database_and_a_missing_key_are_told_in_one_line(tmp_path: Path) -> None:
    data = tmp_path / "data"
    await make(data)
    (data / "secret.key").rename(tmp_path / "kept.key")
    for words in (("serve",), ("apps",), ("users",)):
        assert "secret.key is missing" in refused(data, *words)
    (tmp_path / "kept.key").rename(data / "secret.key")
    with sqlite3.connect(data / "cygni.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    assert "a newer Cygni wrote it. Install that one or newer" in refused(data, "serve")


def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path)


def test_a_missing_database_beside_its_repositories_is_not_made_anew(tmp_path: Path) -> None:
    check_state(settings(tmp_path))
    (tmp_path / "repositories" / "abc.git").mkdir(parents=True)
    with pytest.raises(StartError, match=r"cygni\.db is missing, but its repositories are there"):
        check_state(settings(tmp_path))


def test_a_moved_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "cygni.db.moved").touch()
    with pytest.raises(StartError, match="Set CYGNI_DATABASE_URL"):
        check_state(settings(tmp_path))


def test_half_a_restore_is_not_started(tmp_path: Path) -> None:
    (tmp_path / ".restore").mkdir()
    with pytest.raises(StartError, match="with the same backup again"):
        check_state(settings(tmp_path))
