"""A stack whose base comes from a registry."""

import asyncio
import io
import json
import tarfile
from collections.abc import AsyncIterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from aiohttp import web

from buildpacks.ports import StackImages
from buildpacks.stacks.stack import StackError, Stacks

pytestmark = [pytest.mark.docker, pytest.mark.timeout(400)]

BASE = "cygni-stack/debian-bookworm:base"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def digest_of(data: bytes) -> str:
    return f"sha256:{sha256(data).hexdigest()}"


def saved(image: str) -> tuple[bytes, dict[str, bytes]]:
    """The manifest of an image of this engine, and its blobs by digest."""
    with closing(docker.from_env(timeout=300)) as client:
        archive = b"".join(client.images.get(image).save())
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:

        def read(name: str) -> bytes:
            member = tar.extractfile(name)
            assert member is not None
            return member.read()

        listed = json.loads(read("manifest.json"))[0]
        config, layers = read(listed["Config"]), [read(name) for name in listed["Layers"]]

    def place(data: bytes, kind: str) -> dict[str, object]:
        return {"mediaType": kind, "size": len(data), "digest": digest_of(data)}

    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": place(config, "application/vnd.docker.container.image.v1+json"),
        "layers": [place(data, "application/vnd.docker.image.rootfs.diff.tar") for data in layers],
    }
    return json.dumps(manifest).encode(), {digest_of(data): data for data in (config, *layers)}


@pytest.fixture
async def registry(stack: StackImages) -> AsyncIterator[str]:
    """`HOST:PORT` of a registry on loopback with the image `debian:bookworm`, which is the bootstrapped base."""
    assert stack.run.startswith(BASE.partition(":")[0])
    manifest, blobs = await asyncio.to_thread(saved, BASE)

    async def root(request: web.Request) -> web.Response:
        return web.json_response({})

    async def manifests(request: web.Request) -> web.Response:
        known = request.match_info["tag"] in {"bookworm", digest_of(manifest)}
        if not known:
            return web.json_response(
                {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "unknown"}]}, status=404
            )
        headers = {"Docker-Content-Digest": digest_of(manifest)}
        return web.Response(body=manifest, content_type=MANIFEST, headers=headers)

    async def blob(request: web.Request) -> web.Response:
        return web.Response(body=blobs[request.match_info["digest"]])

    app = web.Application()
    app.add_routes([
        web.get("/v2/", root),
        web.get("/v2/debian/manifests/{tag}", manifests),
        web.get("/v2/debian/blobs/{digest}", blob),
    ])  # fmt: skip
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def silent(line: str) -> None:
    del line


async def test_a_stack_is_made_from_a_registrys_image(registry: str, tmp_path: Path) -> None:
    said: list[str] = []

    async def say(line: str) -> None:
        said.append(line)

    repository = f"cygni-stack-test/{uuid4().hex[:8]}"
    image = f"{registry}/debian:bookworm"
    try:
        async with Stacks(lock_file=tmp_path / "lock", registry_image=image, repository=repository) as stacks:
            images = await stacks.ensure(say)
        assert any(f"Pulling {image}" in line for line in said)
        with closing(docker.from_env()) as client:
            out = await asyncio.to_thread(client.containers.run, images.run, ["id", "-u", "app"], remove=True)
            assert out == b"1000\n"
    finally:
        with closing(docker.from_env()) as client:
            for name in (f"{repository}:build", f"{repository}:run", image):
                client.images.remove(name, force=True)


async def test_a_registry_without_the_image_is_named(registry: str, tmp_path: Path) -> None:
    image = f"{registry}/debian:nosuch"
    async with Stacks(
        lock_file=tmp_path / "lock", registry_image=image, repository="cygni-stack-test/none"
    ) as stacks:
        with pytest.raises(StackError, match="could not be made"):
            await stacks.ensure(silent)
