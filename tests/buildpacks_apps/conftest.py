"""Real builds of whole apps and their first answers; images and containers are removed at the end."""

import http.client
import io
import secrets
import tarfile
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest

from buildpacks.buildkit.client import EngineClient
from buildpacks.buildkit.engine import BuildKitBuilder
from buildpacks.buildkit.images import Images
from buildpacks.plan import BuildSettings, Catalog, Failure, Plan
from buildpacks.planner import plan
from buildpacks.ports import BuildFailedError, BuildRequest, BuiltImage, Tree
from buildpacks.render import render
from buildpacks.stacks.stack import Stacks
from buildpacks.stacks.suites import Suites
from buildpacks.subtree import SubTree

LABEL = "cygni.test-apps"
# Caches of earlier runs are used, as a server's are; what is tested is that an app builds and answers.
CACHES = "cygni-test-apps"
BOOT_SECONDS = 60
PORT = 8642


@dataclass
class Workshop:
    """Builds trees on the real engine."""

    builder: BuildKitBuilder
    suites: Suites
    run: str
    lines: list[str] = field(default_factory=list)

    async def say(self, line: str) -> None:
        self.lines.append(line)

    async def build(self, tree: Tree, settings: BuildSettings | None = None) -> tuple[Plan, BuiltImage]:
        """Plan, render and build; a failure shows the end of the output."""
        planned = plan(tree, settings)
        assert not isinstance(planned, Failure), planned
        try:
            return planned, await self.make(planned, tree)
        except BuildFailedError as error:
            shown = "\n".join(self.lines[-60:])
            pytest.fail(f"{error}\n{shown}", pytrace=False)

    async def make(self, planned: Plan, tree: Tree, target: str | None = None) -> BuiltImage:
        await self.suites.ensure(planned.suite, self.say)
        request = BuildRequest(
            render(planned, Catalog(CACHES)),
            SubTree(tree, planned.root) if planned.root else tree,
            f"cygni-test-apps/{self.run}:{secrets.token_hex(4)}",
            labels={LABEL: self.run},
            extra_files=planned.context_files,
            ignore_file=None,
            ignored=planned.ignored,
            target=target,
        )
        return await self.builder.build(request, self.say)


@pytest.fixture
async def workshop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Workshop]:
    run = secrets.token_hex(4)
    lock = Path(tmp_path_factory.getbasetemp().parent) / "stack.lock"
    async with EngineClient() as engine:
        make = lambda suite: Stacks(engine.socket, lock_file=lock, suite=suite)  # noqa: E731
        async with BuildKitBuilder(engine.socket, slots=2) as builder, Suites(make) as suites:
            yield Workshop(builder, suites, run)
        images = Images(engine)
        for image in await images.list({LABEL: run}):
            await images.remove(image.id, force=True)


@dataclass
class Runner:
    """Starts images as the platform would, without its network."""

    client: docker.DockerClient
    started: list[docker.models.containers.Container] = field(default_factory=list)

    def start(self, image: str, environment: dict[str, str]) -> str:
        """Start a container and return its address."""
        container = self.client.containers.run(
            image,
            detach=True,
            environment={"PORT": str(PORT), **environment},
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mem_limit="512m",
            labels={LABEL: "1"},
        )
        self.started.append(container)
        container.reload()
        address: str = container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
        return address

    def output_of(self, image: str, files: Mapping[str, bytes], command: str) -> bytes:
        """What a command prints in a container that has these files in its folder."""
        container = self.client.containers.create(
            image, ["sh", "-c", command], user="root", labels={LABEL: "1"}
        )
        self.started.append(container)
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for path, content in files.items():
                entry = tarfile.TarInfo(path)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
        container.put_archive("/app", packed.getvalue())
        container.start()
        done = container.wait(timeout=60)
        printed: bytes = container.logs(stdout=True, stderr=False)
        assert done["StatusCode"] == 0, container.logs().decode(errors="replace")[-2000:]
        return printed

    def get(self, path: str) -> tuple[int, str]:
        """The last container's answer, once it gives one."""
        container = self.started[-1]
        deadline = time.monotonic() + BOOT_SECONDS
        while True:
            container.reload()
            if container.status == "running":
                address = container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"]
                try:
                    return _get(address, path)
                except (OSError, http.client.HTTPException):
                    pass
            output = container.logs().decode(errors="replace")[-3000:]
            if container.status == "exited" or time.monotonic() > deadline:
                pytest.fail(f"no answer, {container.status}:\n{output}", pytrace=False)
            time.sleep(0.05)


def _get(address: str, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection(address, PORT, timeout=20)
    try:
        connection.request("GET", path, headers={"Host": "app.localhost"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    finally:
        connection.close()


@pytest.fixture
def runner() -> Iterator[Runner]:
    client = docker.from_env()
    made = Runner(client)
    yield made
    for container in made.started:
        container.remove(force=True)
    client.close()
