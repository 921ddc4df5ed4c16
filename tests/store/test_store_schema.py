"""Migrations make what the models say; on both kinds of database the schema holds the invariants."""

import asyncio
import io
import re
import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from postgres import ON_SQLITE
from sqlalchemy import Connection, create_engine
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex

from cygni.store import DatabaseVersionError, Store, StoreError
from cygni.store.migrate import MIGRATIONS, head
from cygni.store.schema import metadata


def _statements(path: Path) -> dict[str, list[str]]:
    """Each table's and index's SQL as sorted parts: the order of columns and constraints means nothing."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    ours = ((name, sql) for name, sql in rows if not name.startswith(("sqlite_", "alembic_")))
    return {name: _parts(sql) for name, sql in ours}


def _parts(sql: str) -> list[str]:
    """What stands between the commas of a table's definition, and around them."""
    depth, parts = 0, [""]
    for character in " ".join(sql.split()):
        depth += {"(": 1, ")": -1}.get(character, 0)
        if (character == "," and depth == 1) or (character in "()" and depth == (character == "(")):
            parts.append("")
        else:
            parts[-1] += character
    return sorted(part.strip() for part in parts)


@ON_SQLITE
async def test_migrations_make_exactly_what_the_models_say(store: Store, tmp_path: Path) -> None:
    engine = create_engine(f"sqlite:///{tmp_path / 'models.db'}")
    metadata.create_all(engine)
    engine.dispose()
    assert _statements(tmp_path / "cygni.db") == _statements(tmp_path / "models.db")


async def test_alembic_finds_no_difference_between_models_and_migrations(store: Store) -> None:
    def differences(connection: Connection) -> list[object]:
        return list(compare_metadata(MigrationContext.configure(connection), metadata))

    async with store.database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


def test_migrations_are_one_line_and_forward_only() -> None:
    scripts = ScriptDirectory(str(MIGRATIONS))
    assert scripts.get_heads() == [head()]
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert revisions == sorted(revisions, reverse=True)
    assert not any(hasattr(script.module, "downgrade") for script in scripts.walk_revisions())


def test_on_postgresql_migrations_make_the_same_partial_indexes_as_the_models() -> None:
    output = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": output, "target_metadata": metadata}
    )
    with Operations.context(context):
        for script in reversed(list(ScriptDirectory(str(MIGRATIONS)).walk_revisions())):
            script.module.upgrade()
    migrated = " ".join(output.getvalue().split())
    indexes = [index for table in metadata.sorted_tables for index in table.indexes]
    assert sum("WHERE" in str(CreateIndex(i).compile(dialect=postgresql.dialect())) for i in indexes) == 3  # type: ignore[no-untyped-call]
    for index in indexes:
        assert " ".join(str(CreateIndex(index).compile(dialect=postgresql.dialect())).split()) in migrated  # type: ignore[no-untyped-call]
    assert "TIMESTAMP WITH TIME ZONE" in migrated
    assert "BYTEA" in migrated


async def test_opening_again_keeps_everything_and_the_identity(empty_url: str, key_file: Path) -> None:
    first = await Store.open(empty_url, key_file)
    identity = await first.server.identity()
    ann = await first.users.ensure("ann")
    await first.close()
    second = await Store.open(empty_url, key_file)
    assert (await second.server.identity(), await second.users.list()) == (identity, [ann])
    assert re.fullmatch(r"[0-9a-f]{8}", identity)
    await second.close()


async def test_eight_that_open_a_new_database_at_once_share_it(empty_url: str, key_file: Path) -> None:
    stores = await asyncio.gather(*(Store.open(empty_url, key_file) for _ in range(8)))
    assert len({await store.server.identity() for store in stores}) == 1
    for store in stores:
        await store.close()


async def test_a_database_of_a_newer_version_is_refused(store: Store, url: str, key_file: Path) -> None:
    async with store.database.engine.begin() as connection:
        await connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(DatabaseVersionError, match="9999"):
        await Store.open(url, key_file)


@pytest.mark.parametrize("bad", ["sqlite://", "sqlite:///:memory:", "mysql://localhost/x"])
async def test_databases_that_keep_no_promise_are_refused(bad: str, key_file: Path) -> None:
    with pytest.raises(StoreError):
        await Store.open(bad, key_file)
    assert not key_file.exists()


async def test_a_path_that_cannot_be_opened_is_a_typed_error(tmp_path: Path, key_file: Path) -> None:
    with pytest.raises(StoreError, match="nowhere"):
        await Store.open(f"sqlite:///{tmp_path / 'nowhere' / 'cygni.db'}", key_file)


async def test_paths_with_percent_signs_and_spaces_work(tmp_path: Path, key_file: Path) -> None:
    folder = tmp_path / "50% of it"
    folder.mkdir()
    store = await Store.open(f"sqlite:///{folder / 'cygni.db'}", key_file)
    await store.close()
    assert (folder / "cygni.db").stat().st_size > 0


@ON_SQLITE
async def test_sqlite_is_set_up_to_keep_what_was_acknowledged(store: Store) -> None:
    async with store.database.engine.connect() as connection:
        found = {
            pragma: (await connection.exec_driver_sql(f"PRAGMA {pragma}")).scalar()
            for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10000}
