"""Images on their way to ECR: a real engine pushes to a registry on loopback, moto gives the token."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from ecs_plane import REGION
from moto import mock_aws
from registry import Registry

from deployer.ecs import Aws, Ecr
from deployer.ports import EngineError

NAME = "cygni-test-push"
SOCKET = Path("/var/run/docker.sock")
pytestmark = pytest.mark.docker


class LoopbackEcr(Ecr):
    """The token is for AWS's own host, which no test may talk to."""

    host = ""

    async def _repository(self, name: str) -> str:
        return f"{self.host}/{(await super()._repository(name)).partition('/')[2]}"


@pytest.fixture
def image() -> Iterator[str]:
    """The id of an image of one layer that nobody else has."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        data = uuid4().hex.encode()
        entry = tarfile.TarInfo("only")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    with closing(docker.APIClient(f"unix://{SOCKET}", version="auto")) as api:
        told = api.import_image_from_data(packed.getvalue(), repository=NAME, tag=uuid4().hex)
        made = json.loads(told.splitlines()[-1])["status"]
        yield made
        api.remove_image(made, force=True)


@pytest.fixture
async def registry() -> AsyncIterator[Registry]:
    made = Registry("AWS:123456789012-auth-token")
    LoopbackEcr.host = await made.open()
    yield made
    await made.close()


@pytest.fixture
async def ecr(registry: Registry) -> AsyncIterator[Ecr]:
    with mock_aws():
        aws = Aws(REGION)
        yield LoopbackEcr(aws, SOCKET, "server")
        aws.close()


async def test_an_image_is_pushed_once_and_pulled_by_its_digest(
    registry: Registry, ecr: Ecr, image: str
) -> None:
    names = await asyncio.gather(*[ecr.publish("shop", image) for _ in range(3)])
    (manifest,) = registry.manifests
    assert set(names) == {f"{LoopbackEcr.host}/{manifest}"}
    assert manifest.startswith("cygni/server/shop@sha256:")
    assert json.loads(registry.manifests[manifest])["config"]["digest"] == image
    assert registry.uploads == 2, "a layer and a configuration"


async def test_nothing_of_the_push_stays_on_the_builder(registry: Registry, ecr: Ecr, image: str) -> None:
    await ecr.publish("shop", image)
    with closing(docker.APIClient(f"unix://{SOCKET}", version="auto")) as api:
        (tag,) = api.inspect_image(image)["RepoTags"]
    assert tag.startswith(NAME), "the builder's own"


async def test_an_image_that_is_gone_says_push_again(ecr: Ecr) -> None:
    with pytest.raises(EngineError, match="not on the builder any more"):
        await ecr.publish("shop", "sha256:" + "0" * 64)


async def test_a_registry_that_refuses_is_named(registry: Registry, ecr: Ecr, image: str) -> None:
    registry._expected = "Basic nobody"
    with pytest.raises(EngineError, match="registry refused the image of"):
        await ecr.publish("shop", image)
