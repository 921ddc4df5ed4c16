"""Which images are removed: those this server named, never what others built on them."""

import io
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import closing, nullcontext
from pathlib import Path
from types import SimpleNamespace
from uuid import uuid4

import docker
import pytest

from buildpacks.buildkit.client import EngineClient
from buildpacks.buildkit.images import Images as EngineImages
from cygni.domain.errors import BuildError
from cygni.images import Images

pytestmark = pytest.mark.docker

STACK = "cygni-stack/debian-bookworm:run"
SERVER = uuid4().hex[:8]
APP = SimpleNamespace(id=uuid4().hex, name="collected")


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    with closing(docker.from_env()) as client:
        yield client
        for image in client.images.list(filters={"label": f"cygni.server={SERVER}"}):
            client.images.remove(image.id, force=True)


@pytest.fixture
async def client() -> AsyncIterator[EngineClient]:
    async with EngineClient() as made:
        yield made


def collector(client: EngineClient) -> Images:
    return Images(None, SERVER, None, None, None, EngineImages(client))  # type: ignore[arg-type]


def keeping(*images: str) -> Callable[[], Awaitable[set[str]]]:
    async def kept() -> set[str]:
        return set(images)

    return kept


def build(engine: docker.DockerClient, tag: str, dockerfile: str) -> str:
    image, _ = engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=tag)
    return str(image.id)


def ours(engine: docker.DockerClient, key: str) -> tuple[str, str]:
    labels = f'LABEL cygni.server={SERVER} cygni.app-id={APP.id} key="{key}"'
    name = f"cygni-{SERVER}/{APP.name}-token:{key}"
    return name, build(engine, name, f"FROM {STACK}\n{labels}\n")


def names(engine: docker.DockerClient) -> set[str]:
    found = engine.images.list(filters={"label": f"cygni.server={SERVER}"})
    return {tag for image in found for tag in image.tags}


async def test_old_images_go_and_what_others_built_on_them_stays(
    engine: docker.DockerClient, client: EngineClient
) -> None:
    kept, kept_id = ours(engine, "kept")
    _, old_id = ours(engine, "old")
    engine.images.get(old_id).tag(f"others-{SERVER}/base", "1")
    build(engine, f"others-{SERVER}/derived:1", f"FROM {kept}\nLABEL theirs=1\n")
    await collector(client).collect(APP, keeping(kept_id))  # type: ignore[arg-type]
    assert names(engine) == {kept, f"others-{SERVER}/base:1", f"others-{SERVER}/derived:1"}
    await collector(client).remove_app(APP.id)
    assert names(engine) == {f"others-{SERVER}/base:1", f"others-{SERVER}/derived:1"}


async def test_an_image_in_use_waits_for_another_time(
    engine: docker.DockerClient, client: EngineClient
) -> None:
    name, _ = ours(engine, "used")
    container = engine.containers.run(name, ["sleep", "60"], detach=True)
    try:
        await collector(client).collect(APP, keeping())  # type: ignore[arg-type]
        assert name in names(engine)
    finally:
        container.remove(force=True)
    await collector(client).collect(APP, keeping())  # type: ignore[arg-type]
    assert names(engine) == set()


async def test_an_engine_that_is_down_is_a_typed_error(tmp_path: Path) -> None:
    async with EngineClient(tmp_path / "nothing.sock") as nobody:
        with pytest.raises(BuildError):
            await collector(nobody).collect(APP, keeping())  # type: ignore[arg-type]
        with pytest.raises(BuildError):
            await collector(nobody).remove_app(APP.id)


@pytest.mark.parametrize("full", ["state", "engine"])
async def test_a_disk_that_filled_since_the_push_stops_a_build(full: str, tmp_path: Path) -> None:
    """The engine may keep its images on another disk than the server keeps its state."""
    free = shutil.disk_usage(tmp_path).free

    class Elsewhere:
        async def folder(self) -> Path:
            return tmp_path if full == "engine" else tmp_path / "not-on-this-machine"

    data = tmp_path if full == "state" else tmp_path / "not-there"
    for reserve, refuses in ((free * 2, True), (0, False)):
        settings = SimpleNamespace(data=data, disk_reserve=reserve)
        images = Images(settings, SERVER, None, None, None, Elsewhere())  # type: ignore[arg-type]
        with pytest.raises(BuildError, match="almost full") if refuses else nullcontext():
            await images._check_disk()
