import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from shutil import copytree

import pytest
from postgres import PostgreSQL

from cygni.domain.models import App, Build, Job, ProcessType, Release, User
from cygni.store import Store

WEB = ProcessType("web", ("python", "app.py"))

MakeRelease = Callable[..., Awaitable[Release]]
MakeBuild = Callable[..., Awaitable[tuple[Build, Job]]]


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new database and its key file: copying it is quicker than migrating for each test."""
    folder = tmp_path_factory.mktemp("migrated")

    async def make() -> None:
        store = await Store.open(f"sqlite:///{folder / 'cygni.db'}", folder / "secret.key")
        await store.close()

    asyncio.run(make())
    return folder


@pytest.fixture(scope="session")
def migrated_postgres(postgres: PostgreSQL, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The name of a new database, which serves as a template, and the folder of its key file."""
    folder, name = tmp_path_factory.mktemp("migrated-postgres"), postgres.create()

    async def make() -> None:
        store = await Store.open(postgres.url(name), folder / "secret.key")
        await store.close()

    asyncio.run(make())
    return name, folder


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest) -> str:
    """The kind of database. A test that is about one of them is marked so (`ON_SQLITE`)."""
    return str(request.param)


@pytest.fixture
def empty_url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[str]:
    """A database that nobody has opened yet."""
    if database == "sqlite":
        yield f"sqlite+aiosqlite:///{tmp_path / 'cygni.db'}"
        return
    server: PostgreSQL = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def url(request: pytest.FixtureRequest, database: str, tmp_path: Path) -> Iterator[str]:
    """A database that is set up, with its key file."""
    if database == "sqlite":
        copytree(request.getfixturevalue("migrated"), tmp_path, dirs_exist_ok=True)
        yield f"sqlite+aiosqlite:///{tmp_path / 'cygni.db'}"
        return
    server: PostgreSQL = request.getfixturevalue("postgres")
    template, folder = request.getfixturevalue("migrated_postgres")
    copytree(folder, tmp_path, dirs_exist_ok=True)
    name = server.create(template)
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    return tmp_path / "secret.key"


@pytest.fixture
async def store(url: str, key_file: Path) -> AsyncIterator[Store]:
    store = await Store.open(url, key_file)
    yield store
    await store.close()


@pytest.fixture
async def ann(store: Store) -> User:
    return await store.users.ensure("ann")


@pytest.fixture
async def shop(store: Store, ann: User) -> App:
    return await store.apps.create("shop", ann.id)


@pytest.fixture
def make_release(store: Store, shop: App) -> MakeRelease:
    async def make(app: App = shop, image: str = "sha256:1", live: bool = False, **more: object) -> Release:
        values = {
            "commit": "c" * 40,
            "processes": (WEB,),
            "release_command": None,
            "author": "ann",
            "reason": "Deploy",
        }
        release = await store.releases.create(app.id, image=image, **(values | more))  # type: ignore[arg-type]
        if live:
            await store.releases.set_live(release.id)
        return release

    return make


@pytest.fixture
def make_build(store: Store, shop: App) -> MakeBuild:
    async def make(app: App = shop, commit: str = "c" * 40) -> tuple[Build, Job]:
        return await store.builds.enqueue(
            app.id,
            commit=commit,
            ref="refs/heads/main",
            message="Fix it",
            author="ann",
            quarantine="/objects/incoming-1",
            payload={"detach": "yes"},
        )

    return make
