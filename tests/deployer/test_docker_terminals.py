"""Terminals on the Docker engine where an image does not help: no shell, an entry point of its own."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import closing, suppress
from ipaddress import IPv4Network
from pathlib import Path
from uuid import uuid4

import docker
import pytest

from deployer.docker import DockerEngine
from deployer.manifest import Manifest, Process
from deployer.ports import Attachment, OneOff, Terminal

pytestmark = pytest.mark.docker

SOCKET = Path("/var/run/docker.sock")
STACK = "cygni-stack/debian-bookworm:run"
TERMINAL = Terminal("xterm", 91, 31)


@pytest.fixture
async def engine(subnet: str) -> AsyncIterator[DockerEngine]:
    server = uuid4().hex[:8]
    made = DockerEngine(SOCKET, server, IPv4Network(subnet))
    yield made
    await made.close()
    with closing(docker.from_env()) as client:
        for container in client.containers.list(all=True, filters={"label": f"cygni.server={server}"}):
            container.remove(force=True)
        for network in client.networks.list(filters={"label": f"cygni.server={server}"}):
            network.remove()


@pytest.fixture
def images() -> object:
    """Makes images from the stack, by a command as root and another configuration."""
    with closing(docker.from_env()) as client:
        tags: list[str] = []

        def make(command: list[str], **config: object) -> str:
            tag = f"cygni-terminals:{uuid4().hex[:12]}"
            container = client.containers.run(STACK, command, user="root", detach=True)
            container.wait()
            found = client.api.inspect_image(STACK)["Config"]
            container.commit(*tag.split(":"), conf={"Cmd": None, "User": found["User"], **config})
            container.remove()
            tags.append(tag)
            return tag

        yield make
        for tag in tags:
            with suppress(docker.errors.APIError):
                client.images.remove(tag, force=True)


def manifest(image: str) -> Manifest:
    return Manifest(app_id=uuid4().hex, app="term", release=1, image=image, processes=(), env={}, port=5701)


async def said(attachment: Attachment) -> str:
    parts = []
    async with asyncio.timeout(30):
        while (piece := await attachment.read()) is not None:
            parts.append(piece[1])
    return b"".join(parts).decode()


async def test_an_image_without_a_shell_runs_what_it_has(engine: DockerEngine, images: object) -> None:
    image = images(["rm", "-f", "/bin/sh"])  # type: ignore[operator]
    for _ in range(2):  # the second time it is known
        instance, attachment = await engine.run_attached(
            manifest(image), OneOff(1, ("tty",), terminal=TERMINAL)
        )
        assert "/dev/pts/" in await said(attachment)
        assert (await attachment.wait()).code == 0
        await attachment.end()
        assert await engine.inspect(instance.id) is None
    process = Process("worker", ("sleep", "600"), 1)
    running = await engine.start(manifest(image), process, 1)
    inside = await engine.execute(running, ("tty",), TERMINAL, {})
    assert "/dev/pts/" in await said(inside)
    assert (await inside.wait()).code == 0
    await inside.end()


async def test_an_entry_point_of_the_images_own_gets_the_command_as_it_is(
    engine: DockerEngine, images: object
) -> None:
    image = images(["true"], Entrypoint=["/bin/echo", "entry"])  # type: ignore[operator]
    _, attachment = await engine.run_attached(manifest(image), OneOff(1, ("a", "b c"), terminal=TERMINAL))
    assert await said(attachment) == "entry a b c\r\n"
    await attachment.end()


async def test_a_process_inside_an_instance_has_the_environment_it_is_given(engine: DockerEngine) -> None:
    running = await engine.start(manifest(STACK), Process("worker", ("sleep", "600"), 1), 1)
    inside = await engine.execute(
        running, ("sh", "-c", "echo $TERM $NAME $PORT"), TERMINAL, {"NAME": "value"}
    )
    assert await said(inside) == "xterm value 5701\r\n"
    await inside.end()


async def test_a_process_that_ignores_a_hang_up_is_killed(engine: DockerEngine) -> None:
    running = await engine.start(manifest(STACK), Process("worker", ("sleep", "600"), 1), 1)
    inside = await engine.execute(
        running, ("sh", "-c", "trap '' HUP; echo deaf; while :; do sleep 1; done"), None, {}
    )
    async with asyncio.timeout(30):
        assert await inside.read() == ("stdout", b"deaf\n")
        await inside.end()
        assert (await inside.wait()).code == 137
    found = await engine.inspect(running.id)
    assert found is not None
    assert found.state == "running"
