"""Image operations on one engine."""

import json
from collections.abc import AsyncIterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from buildpacks.buildkit.client import EngineClient, EngineRequestError
from buildpacks.ports import BuiltImage, Image

_NOT_FOUND = 404
_LONG_CALL_SECONDS = 600.0


@dataclass(frozen=True)
class DiskUsage:
    """Bytes that the engine keeps: layers of all images, and the build cache."""

    layers: int
    build_cache: int


class Images:
    """Tags, lists, removes and imports. Every method raises `EngineUnavailableError` and `EngineRequestError`."""

    def __init__(self, client: EngineClient) -> None:
        self._client = client
        self._folder: Path | None = None

    async def folder(self) -> Path:
        """Where the engine keeps images and containers, on its own machine. Asked for once."""
        if self._folder is None:
            self._folder = Path((await self._client.json("GET", "/info"))["DockerRootDir"])
        return self._folder

    async def inspect(self, name: str) -> BuiltImage | None:
        """What an image's configuration says, None when it does not exist."""
        config = await self._inspect(name)
        return built_image(config) if config else None

    async def labels(self, name: str) -> Mapping[str, str] | None:
        """An image's labels, None when it does not exist."""
        config = await self._inspect(name)
        return None if config is None else dict(config["Config"].get("Labels") or {})

    async def exists(self, name: str) -> bool:
        """Whether the engine has the image; `name` is an id or a tag."""
        return await self._inspect(name) is not None

    async def tag(self, image: str, name: str) -> None:
        """Give an image another name, `repository:tag`."""
        repository, _, tag = name.rpartition(":")
        await self._client.json("POST", f"/images/{_path(image)}/tag", {"repo": repository, "tag": tag})

    async def remove(self, name: str, *, force: bool = False) -> bool:
        """Remove a name, and the image with its last one; False when there was none.

        `force` removes an image by its id although it has several names.
        """
        try:
            await self._client.json("DELETE", f"/images/{_path(name)}", {"force": str(force).lower()})
        except EngineRequestError as error:
            if error.status == _NOT_FOUND:
                return False
            raise
        return True

    async def list(self, labels: Mapping[str, str]) -> Sequence[Image]:
        """Images that have all of these labels; an empty value means any."""
        wanted = [f"{name}={value}" if value else name for name, value in labels.items()]
        found = await self._client.json("GET", "/images/json", {"filters": json.dumps({"label": wanted})})
        return [_image(item) for item in found]

    async def import_archive(
        self, name: str, archive: AsyncIterable[bytes], changes: Sequence[str] = ()
    ) -> None:
        """Make an image of one layer from a tar stream. `changes` are Dockerfile instructions such as `LABEL a=b`."""
        repository, _, tag = name.rpartition(":")
        params = [
            ("fromSrc", "-"),
            ("repo", repository),
            ("tag", tag),
            *(("changes", change) for change in changes),
        ]
        headers = {"Content-Type": "application/x-tar"}
        async with self._client.request(
            "POST", "/images/create", timeout=None, params=params, data=archive, headers=headers
        ) as response:
            answer = (await response.text()).splitlines()
        for line in filter(None, answer):
            if error := json.loads(line).get("error"):
                raise EngineRequestError(500, str(error))

    async def pull(self, name: str) -> None:
        """Fetch an image from its registry."""
        repository, _, tag = name.rpartition(":")
        async with self._client.request(
            "POST", "/images/create", timeout=_LONG_CALL_SECONDS, params={"fromImage": repository, "tag": tag}
        ) as response:
            async for line in response.content:
                if error := json.loads(line).get("error"):
                    raise EngineRequestError(500, str(error))

    async def disk_usage(self) -> DiskUsage:
        """What images and build cache take."""
        usage = await self._client.json("GET", "/system/df", timeout=_LONG_CALL_SECONDS)
        cache = sum(item["Size"] for item in usage.get("BuildCache") or () if not item.get("Shared"))
        return DiskUsage(layers=usage["LayersSize"], build_cache=cache)

    async def prune_build_cache(self, keep_bytes: int) -> int:
        """Remove the build cache that was not used for longest, down to `keep_bytes`; returns the bytes freed."""
        params = {"keep-storage": str(keep_bytes)}
        report = await self._client.json("POST", "/build/prune", params, timeout=_LONG_CALL_SECONDS)
        return int(report.get("SpaceReclaimed", 0))

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = await self._client.json("GET", f"/images/{_path(name)}/json")
        except EngineRequestError as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return found


def built_image(inspected: Mapping[str, Any]) -> BuiltImage:
    """Read the engine's description. The command is what the image runs: entry point and arguments."""
    config = inspected.get("Config") or {}
    command = (*(config.get("Entrypoint") or ()), *(config.get("Cmd") or ()))
    ports = sorted(
        int(port.partition("/")[0]) for port in config.get("ExposedPorts") or {} if port.endswith("/tcp")
    )
    return BuiltImage(
        id=inspected["Id"], command=command, exposed_ports=tuple(ports), size=int(inspected["Size"])
    )


def _image(item: Mapping[str, Any]) -> Image:
    return Image(
        id=item["Id"],
        tags=tuple(item.get("RepoTags") or ()),
        labels=dict(item.get("Labels") or {}),
        size=int(item["Size"]),
        created=int(item["Created"]),
    )


def _path(name: str) -> str:
    return quote(name, safe=":/@")
