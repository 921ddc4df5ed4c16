"""A backup of a state directory without a server: what is in it, what is refused, what an interruption leaves."""

import io
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

import pytest
from postgres import PostgreSQL

from config import Settings
from cygni.backup import create, restore, shelf
from cygni.backup import sealed as container
from cygni.backup.archive import About, ArchiveReader, ArchiveWriter
from cygni.backup.errors import BackupError
from cygni.domain.models import ProcessType
from cygni.store import Store
from gitserver import repository

PASSPHRASE = "correct horse"


@pytest.fixture(autouse=True)
def _cheap_guesses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "LOG_N", 4)


@pytest.fixture(params=["sqlite", "postgresql"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a server that has no state yet."""
    if request.param == "sqlite":
        return Settings(data=tmp_path / "data")
    server: PostgreSQL = request.getfixturevalue("postgres")
    return Settings(data=tmp_path / "data", database_url=server.url(server.create()))


def on_empty_machine(settings: Settings, request: pytest.FixtureRequest, data: Path) -> Settings:
    if settings.database_url is None:
        return Settings(data=data)
    server: PostgreSQL = request.getfixturevalue("postgres")
    return Settings(data=data, database_url=server.url(server.create()))


def git(path: Path, *words: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.com"]
    done = subprocess.run(
        ["git", *identity, "-C", str(path), *words], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


async def fill(settings: Settings) -> tuple[str, str]:
    """One app with config, a live release, its commit, logs; returns the app's id and the commit."""
    settings.data.mkdir()
    store = await Store.open(settings.store_url, settings.data / "secret.key")
    try:
        app = await store.apps.create("shop", (await store.users.ensure("ann")).id)
        await store.config.change(app.id, {"TOKEN": "s3cr3t"}, author="ann", job_kind=None)
        path = settings.data / "repositories" / f"{app.id}.git"
        await repository.create_bare(path)
        tree = git(path, "mktree")
        commit = git(path, "commit-tree", "-m", "one", tree)
        git(path, "update-ref", "refs/heads/trunk", commit)
        git(path, "update-ref", "refs/cygni/v1", git(path, "commit-tree", "-m", "hidden", tree))
        await repository.set_head(path, "trunk")
        release = await store.releases.create(
            app.id, image="sha256:1", commit=commit, processes=(ProcessType("web", ("x",)),),
            release_command=None, author="ann", reason="Deploy",
        )  # fmt: skip
        await store.releases.set_live(release.id)
    finally:
        await store.close()
    for name in (f"logs/{app.id}/00000000000000000000-0000000001.log", "builds/abc.log", "ssh/ssh_host_key"):
        (settings.data / name).parent.mkdir(parents=True, exist_ok=True)
        (settings.data / name).write_text(f"content of {name}\n")
    (settings.data / "router-table.json").write_text("{}")
    return app.id, commit


async def back_up(settings: Settings, directory: Path, keep: int | None = None) -> Path:
    said: list[str] = []
    made = await create.backup(settings, directory, PASSPHRASE, keep, said.append)
    assert f"{made}: 1 apps" in said[-1]
    return made


async def test_everything_that_cannot_be_made_again_comes_back(
    settings: Settings, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    app_id, commit = await fill(settings)
    made = await back_up(settings, tmp_path / "shelf")
    assert made.stat().st_mode & 0o777 == 0o600
    assert b"s3cr3t" not in made.read_bytes()
    other = on_empty_machine(settings, request, tmp_path / "other")
    await restore.restore(other, tmp_path / "shelf", PASSPHRASE)
    store = await Store.open(other.store_url, other.data / "secret.key")
    try:
        assert await store.config.get(app_id) == {"TOKEN": "s3cr3t"}
        live = await store.releases.live(app_id)
        assert live is not None
        assert (live.version, live.commit, live.config) == (1, commit, {"TOKEN": "s3cr3t"})
    finally:
        await store.close()
    path = other.data / "repositories" / f"{app_id}.git"
    assert git(path, "for-each-ref") == git(settings.data / "repositories" / f"{app_id}.git", "for-each-ref")
    assert git(path, "symbolic-ref", "HEAD") == "refs/heads/trunk"
    assert git(path, "fsck", "--strict") == ""
    for name in (f"logs/{app_id}/00000000000000000000-0000000001.log", "builds/abc.log", "ssh/ssh_host_key"):
        assert (other.data / name).read_text() == f"content of {name}\n"
        assert (other.data / name).stat().st_mode & 0o777 == 0o600
    assert not (other.data / "router-table.json").exists()
    assert not restore.unfinished(other.data)
    assert not (settings.data / create.WORK).exists()


async def test_a_directory_or_database_with_something_in_it_is_left_alone(
    settings: Settings, tmp_path: Path
) -> None:
    await fill(settings)
    made = await back_up(settings, tmp_path / "shelf")
    before = sorted(settings.data.rglob("*"))
    with pytest.raises(BackupError, match="is not empty"):
        await restore.restore(settings, made, PASSPHRASE)
    assert sorted(set(settings.data.rglob("*")) - {settings.data / "serve.lock"}) == before
    if settings.database_url is not None:
        elsewhere = Settings(data=tmp_path / "new", database_url=settings.database_url)
        with pytest.raises(BackupError, match="CYGNI_DATABASE_URL is not empty"):
            await restore.restore(elsewhere, made, PASSPHRASE)


@pytest.fixture
async def made(tmp_path: Path) -> Path:
    """A backup of an SQLite server."""
    first = Settings(data=tmp_path / "first")
    await fill(first)
    return await back_up(first, tmp_path / "shelf")


@pytest.mark.parametrize(
    ("spoil", "passphrase", "said"),
    [
        (lambda data: data, "wrong", "not the passphrase"),
        (lambda data: data[:-1], PASSPHRASE, "its end is missing"),
        (lambda data: data[: len(data) // 2], PASSPHRASE, "its end is missing"),
        (lambda data: data[:500] + b"x" + data[501:], PASSPHRASE, "damaged|end is missing"),
        (lambda data: b"", PASSPHRASE, "not a backup"),
    ],
    ids=["passphrase", "cut", "half", "changed", "empty"],
)
async def test_what_is_not_whole_is_refused_and_leaves_nothing(
    made: Path, tmp_path: Path, spoil: Any, passphrase: str, said: str
) -> None:
    made.write_bytes(spoil(made.read_bytes()))
    data = tmp_path / "second"
    with pytest.raises(BackupError, match=said):
        restore.verify(made, passphrase)
    with pytest.raises(BackupError, match=said):
        await restore.restore(Settings(data=data), made, passphrase)
    assert {path.name for path in data.iterdir()} <= {"serve.lock"}


async def test_verify_reads_the_newest_of_a_directory(made: Path) -> None:
    path, about, files = restore.verify(made.parent, PASSPHRASE)
    assert (path, about.apps, about.database) == (made, 1, "sqlite")
    assert files >= 7


async def test_an_interrupted_restore_goes_on_and_no_server_starts_before(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Settings(data=tmp_path / "second")
    move = shutil.move
    with monkeypatch.context() as patched:

        def dies(source: Path, target: Path) -> None:
            if source.name == "repositories":
                raise KeyboardInterrupt
            move(source, target)

        patched.setattr(shutil, "move", dies)
        with pytest.raises(KeyboardInterrupt):
            await restore.restore(settings, made, PASSPHRASE)
    assert restore.unfinished(settings.data)
    assert (settings.data / "builds").exists()
    await restore.restore(settings, made, PASSPHRASE)
    assert not restore.unfinished(settings.data)
    assert {path.name for path in settings.data.iterdir()} == {
        "builds", "cygni.db", "logs", "repositories", "secret.key", "serve.lock", "ssh"
    }  # fmt: skip


async def test_old_backups_of_this_server_go_and_others_stay(tmp_path: Path) -> None:
    settings, directory = Settings(data=tmp_path / "first"), tmp_path / "shelf"
    await fill(settings)
    directory.mkdir()
    others = ["cygni-00000000-20200101T000000.000Z.backup", "notes.txt"]
    for name in others:
        (directory / name).touch()
    paths = [await back_up(settings, directory, keep=2) for _ in range(4)]
    assert {path.name for path in directory.iterdir()} == {*others, paths[2].name, paths[3].name}
    with pytest.raises(BackupError, match="several servers"):
        shelf.newest(directory)


async def test_a_backup_that_fails_leaves_nothing_and_the_next_one_sweeps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, directory = Settings(data=tmp_path / "first"), tmp_path / "shelf"
    await fill(settings)
    with monkeypatch.context() as patched:
        patched.setattr(
            ArchiveWriter, "finish", lambda _: (_ for _ in ()).throw(OSError(28, "No space left"))
        )
        with pytest.raises(BackupError, match="No space left"):
            await create.backup(settings, directory, PASSPHRASE, None, print)
    assert list(directory.iterdir()) == []
    made = await back_up(settings, directory)
    killed = directory / f".{made.name}.partial"
    killed.touch()
    await back_up(settings, directory)
    assert not killed.exists()


async def test_a_state_directory_without_a_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    with pytest.raises(BackupError, match=r"no database in .*CYGNI_DATA"):
        await create.backup(Settings(data=tmp_path / "data"), tmp_path / "shelf", PASSPHRASE, None, print)


def about(**changes: object) -> About:
    values = {
        "format": 1, "created": "now", "version": "1", "identity": "00000000", "domain": "d",
        "database": "sqlite", "revision": "0001", "apps": 0,
    }  # fmt: skip
    return About(**(values | changes))  # type: ignore[arg-type]


def archive(path: Path, made: About, *names: str) -> Path:
    with path.open("wb") as file:
        writer = ArchiveWriter(file, PASSPHRASE, made)
        for name in names:
            writer.add_text(name, "x")
        writer.finish()
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 2}, "newer Cygni"),
        ({"revision": "9999"}, "revision 9999.*newer Cygni"),
        ({"database": "postgresql"}, "CYGNI_DATABASE_URL to an empty database"),
    ],
)
async def test_what_this_version_or_these_settings_cannot_hold_is_refused_with_advice(
    tmp_path: Path, changes: dict[str, object], said: str
) -> None:
    path = archive(tmp_path / "made", about(**changes))
    with pytest.raises(BackupError, match=said):
        await restore.restore(Settings(data=tmp_path / "data"), path, PASSPHRASE)


@pytest.mark.parametrize("name", ["../outside", "/etc/outside", ".hidden", "a//b", "logs/../../x"])
def test_a_name_that_leads_outside_is_refused(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only who knows the passphrase can make one; a restore trusts nobody with paths all the same."""
    from cygni.backup import archive as module

    with monkeypatch.context() as patched:
        patched.setattr(module, "_NAME", module.re.compile(".*"))
        path = archive(tmp_path / "made", about(), name)
    with pytest.raises(BackupError, match="not what the manifest lists"):
        restore.verify(path, PASSPHRASE)


def test_links_and_directories_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "made"
    with path.open("wb") as file:
        writer = ArchiveWriter(file, PASSPHRASE, about())
        link = tarfile.TarInfo("ssh/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        writer._tar.addfile(link, io.BytesIO())
        writer.finish()
    with ArchiveReader(path, PASSPHRASE) as reader, pytest.raises(BackupError, match="ssh/link"):
        list(reader.entries())
