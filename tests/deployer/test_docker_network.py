"""The Docker engine's own network, and one-offs on it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from ipaddress import IPv4Network
from pathlib import Path
from uuid import uuid4

import docker
import pytest

from deployer.docker import DockerEngine
from deployer.manifest import Manifest
from deployer.ports import EngineError

pytestmark = pytest.mark.docker

SOCKET = Path("/var/run/docker.sock")
STACK = "cygni-stack/debian-bookworm:run"


def manifest() -> Manifest:
    return Manifest(
        app_id=uuid4().hex,
        app="netapp",
        release=1,
        image=STACK,
        commit="0" * 40,
        env={},
        processes=(),
        port=5000,
    )


@asynccontextmanager
async def engine(network: str) -> AsyncIterator[DockerEngine]:
    server = uuid4().hex[:8]
    made = DockerEngine(SOCKET, server, IPv4Network(network))
    try:
        yield made
    finally:
        await made.close()
        with closing(docker.from_env()) as client:
            for container in client.containers.list(all=True, filters={"label": f"cygni.server={server}"}):
                container.remove(force=True)
            for found in client.networks.list(names=[f"cygni-{server}"]):
                found.remove()


async def silent(line: str) -> None:
    del line


async def test_a_subnet_that_is_taken_is_named_with_the_setting_to_change(subnet: str) -> None:
    async with engine(subnet) as first, engine(subnet) as second:
        assert await first.run(manifest(), ("true",), silent, 30) == 0
        with pytest.raises(EngineError, match=f"{subnet}.*CYGNI_NETWORK"):
            await second.run(manifest(), ("true",), silent, 30)


async def test_a_one_off_gives_its_exit_code_and_is_removed(subnet: str) -> None:
    async with engine(subnet) as made:
        wanted = manifest()
        assert await made.run(wanted, ("sh", "-c", "exit 7"), silent, 30) == 7
        await made.close()
        with closing(docker.from_env()) as client:
            assert client.containers.list(all=True, filters={"label": f"cygni.app-id={wanted.app_id}"}) == []


async def test_a_one_off_that_takes_too_long_is_killed(subnet: str) -> None:
    async with engine(subnet) as made:
        wanted = manifest()
        with pytest.raises(TimeoutError):
            await made.run(wanted, ("sleep", "60"), silent, 0.5)
        with closing(docker.from_env()) as client:
            assert client.containers.list(all=True, filters={"label": f"cygni.app-id={wanted.app_id}"}) == []
