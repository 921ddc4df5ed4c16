"""Takes images from the builder's engine to a registry that Fargate can pull from: ECR."""

import asyncio
import base64
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import docker
import docker.errors
import requests
import structlog

from deployer.ecs.aws import Aws
from deployer.ecs.errors import AwsError
from deployer.ecs.tasks import plain
from deployer.ports import EngineError

_PUSH_SECONDS = 900
_KNOWN = 1000

log = structlog.get_logger()


class Registry(Protocol):
    """Where images are for tasks."""

    async def publish(self, app: str, image: str) -> str:
        """Return a name by which tasks pull this image of the builder, pushing it if need be.

        Raises:
            EngineError: it is gone, or the registry refused it.
        """
        ...


class Published:
    """For images that are in a registry already: their names are what they are."""

    async def publish(self, app: str, image: str) -> str:
        """Return the image's own name."""
        del app
        return image


class Ecr:
    """One repository an app, made at its first push. The token (12 h) stays in memory and goes with the push only.

    What is pushed is named by the image's id and pulled by its digest, so a push that was cut off is repeated
    without harm: layers that are there are not sent again.
    """

    def __init__(self, aws: Aws, socket: Path, server: str) -> None:
        self._aws = aws
        self._url = f"unix://{socket}"
        self._server = server
        self._names: dict[str, str] = {}
        self._turns: dict[str, asyncio.Lock] = {}

    async def publish(self, app: str, image: str) -> str:
        """Push an image of the local engine, once."""
        key = f"{app} {image}"
        async with self._turns.setdefault(key, asyncio.Lock()):
            if key not in self._names:
                self._names[key] = await self._publish(app, image)
                while len(self._names) > _KNOWN:
                    self._names.pop(next(iter(self._names)))
        self._turns.pop(key, None)
        return self._names[key]

    async def _publish(self, app: str, image: str) -> str:
        name = f"cygni/{plain(self._server).lower()}/{plain(app).lower()}"
        repository = await self._repository(name)
        tag = image.removeprefix("sha256:")[:64].replace("/", "-").replace(":", "-")
        digest = await self._digest(name, tag)
        if digest is None:
            digest = await asyncio.to_thread(self._push, image, repository, tag, await self._login())
        return f"{repository}@{digest}"

    async def _repository(self, name: str) -> str:
        try:
            made = await self._aws.call(
                "ecr",
                "create_repository",
                repositoryName=name,
                imageTagMutability="IMMUTABLE",
                tags=[{"Key": "cygni.server", "Value": self._server}],
            )
            return str(made["repository"]["repositoryUri"])
        except AwsError as error:
            if error.code != "RepositoryAlreadyExistsException":
                raise
        found = await self._aws.call("ecr", "describe_repositories", repositoryNames=[name])
        return str(found["repositories"][0]["repositoryUri"])

    async def _digest(self, name: str, tag: str) -> str | None:
        """What was pushed before under this tag."""
        try:
            found = await self._aws.call(
                "ecr", "describe_images", repositoryName=name, imageIds=[{"imageTag": tag}]
            )
        except AwsError as error:
            if error.code == "ImageNotFoundException":
                return None
            raise
        return next((str(item["imageDigest"]) for item in found["imageDetails"]), None)

    async def _login(self) -> dict[str, str]:
        answer = await self._aws.call("ecr", "get_authorization_token")
        user, _, password = (
            base64.b64decode(answer["authorizationData"][0]["authorizationToken"]).decode().partition(":")
        )
        return {"username": user, "password": password}

    def _push(self, image: str, repository: str, tag: str, login: Mapping[str, str]) -> str:
        try:
            with closing(docker.APIClient(self._url, version="auto", timeout=_PUSH_SECONDS)) as api:
                api.tag(image, repository, tag)
                try:
                    return _read(repository, api.push(repository, tag, True, dict(login), True))
                finally:
                    _untag(api, f"{repository}:{tag}")
        except docker.errors.NotFound as error:
            raise EngineError(f"The image {image} is not on the builder any more. Push again.") from error
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise EngineError(
                f"The image could not be pushed to {repository}: {error}", transient=True
            ) from error


def _untag(api: Any, name: str) -> None:
    """The name was for the push only: the builder's own housekeeping knows its images by theirs."""
    try:
        api.remove_image(name, noprune=True)
    except docker.errors.DockerException as error:
        log.warning("a registry's name stays on the builder", image=name, error=str(error))


def _read(repository: str, lines: Iterable[Mapping[str, Any]]) -> str:
    digest = ""
    for line in lines:
        if "error" in line:
            raise EngineError(f"The registry refused the image of {repository}: {line['error']}")
        digest = (line.get("aux") or {}).get("Digest") or digest
    if not digest:
        raise EngineError(f"The registry did not confirm the image of {repository}.", transient=True)
    return digest
