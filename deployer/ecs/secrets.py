"""A release's config as one secret, pinned by version: what a definition references is what was released."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from uuid import uuid4

from deployer.ecs.aws import Aws
from deployer.ecs.errors import AwsError
from deployer.manifest import Manifest
from deployer.ports import EngineError

LIMIT = 65536
"""Bytes of a Secrets Manager secret."""
_RECOVERY_DAYS = 7
_EXISTS = "ResourceExistsException"
_DELETED = "InvalidRequestException"
_MISSING = "ResourceNotFoundException"


@dataclass(frozen=True)
class Secret:
    """One version of one secret."""

    arn: str
    version: str

    def references(self, names: Iterable[str]) -> list[dict[str, str]]:
        """What a container definition says instead of values."""
        return [{"name": name, "valueFrom": f"{self.arn}:{name}::{self.version}"} for name in sorted(names)]


class Secrets:
    """Keeps the secret of each release that has instances, and schedules it for deletion after the last.

    A deletion can be taken back for a week, so a start that meets one goes on.
    """

    def __init__(self, aws: Aws, server: str) -> None:
        self._aws = aws
        self._server = server
        self._known: dict[str, tuple[Mapping[str, str], Secret]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._in_use: Counter[str] = Counter()

    def _name(self, app_id: str, release: int) -> str:
        return f"cygni/{self._server}/{app_id}/v{release}"

    @asynccontextmanager
    async def of(self, manifest: Manifest) -> AsyncIterator[Secret | None]:
        """The release's secret, which is not deleted meanwhile; None where it has no config.

        Raises:
            EngineError: the config is too large, or AWS refused.
        """
        if not manifest.env:
            yield None
            return
        name = self._name(manifest.app_id, manifest.release)
        with self._used(name):
            async with self._locks[name]:
                found = await self._ensure(name, manifest)
            yield found

    @asynccontextmanager
    async def for_one(self, manifest: Manifest) -> AsyncIterator[Secret | None]:
        """The same for a task that may have more config than its release: then a secret of its own, until the end.

        A further version of the release's secret would make AWS forget the one that running instances need.
        """
        name = self._name(manifest.app_id, manifest.release)
        known = self._known.get(name)
        if not manifest.env or (known and known[0] == manifest.env):
            async with self.of(manifest) as shared:
                yield shared
            return
        own = f"{name}/{uuid4().hex}"
        with self._used(own):
            try:
                yield await self._create(own, _text(manifest), manifest)
            finally:
                await self._delete(own)

    @contextmanager
    def _used(self, name: str) -> Iterator[None]:
        self._in_use[name] += 1
        try:
            yield
        finally:
            self._in_use[name] -= 1
            if not self._in_use[name]:
                del self._in_use[name]

    async def _ensure(self, name: str, manifest: Manifest) -> Secret:
        known = self._known.get(name)
        if known and known[0] == manifest.env:
            return known[1]
        secret = await self._create(name, _text(manifest), manifest)
        self._known[name] = dict(manifest.env), secret
        return secret

    async def _create(self, name: str, text: str, manifest: Manifest) -> Secret:
        tags = {
            "cygni.server": self._server,
            "cygni.app": manifest.app,
            "cygni.app-id": manifest.app_id,
            "cygni.release": str(manifest.release),
        }
        try:
            made = await self._aws.call(
                "secretsmanager",
                "create_secret",
                Name=name,
                SecretString=text,
                Tags=[{"Key": key, "Value": value} for key, value in tags.items()],
            )
        except AwsError as error:
            if error.code not in {_EXISTS, _DELETED}:
                raise
            return await self._adopt(name, text)
        return Secret(made["ARN"], made["VersionId"])

    async def _adopt(self, name: str, text: str) -> Secret:
        """Go on with what an earlier life made, or began to delete."""
        await self._aws.call("secretsmanager", "restore_secret", SecretId=name)
        found = await self._aws.call("secretsmanager", "get_secret_value", SecretId=name)
        if found.get("SecretString") != text:
            found = await self._aws.call(
                "secretsmanager", "put_secret_value", SecretId=name, SecretString=text
            )
        return Secret(found["ARN"], found["VersionId"])

    async def release_gone(self, app_id: str, release: int) -> None:
        """The release has no instance any more; its secret goes, unless a start needs it at this moment."""
        name = self._name(app_id, release)
        async with self._locks[name]:
            if name in self._in_use:
                return
            self._known.pop(name, None)
            await self._delete(name)
        self._locks.pop(name, None)

    async def sweep(self, live: Collection[tuple[str, int]]) -> None:
        """Remove what kills left: secrets of releases that have no instance, and of one-offs that have started."""
        start = f"cygni/{self._server}/"
        kept = {self._name(*release) for release in live}
        token: dict[str, str] = {}
        while True:
            filters = [{"Key": "name", "Values": [start]}]
            answer = await self._aws.call("secretsmanager", "list_secrets", Filters=filters, **token)
            for name in [item["Name"] for item in answer["SecretList"]]:
                if name.startswith(start) and name not in kept and name not in self._in_use:
                    await self._delete(name)
            if not answer.get("NextToken"):
                return
            token = {"NextToken": answer["NextToken"]}

    async def _delete(self, name: str) -> None:
        try:
            await self._aws.call(
                "secretsmanager", "delete_secret", SecretId=name, RecoveryWindowInDays=_RECOVERY_DAYS
            )
        except AwsError as error:
            if error.code not in {_MISSING, _DELETED}:
                raise


def _text(manifest: Manifest) -> str:
    text = json.dumps(dict(manifest.env), sort_keys=True)
    if len(text.encode()) > LIMIT:
        raise EngineError(
            f"The config of {manifest.app} is larger than the {LIMIT >> 10} KiB that AWS keeps in a secret."
        )
    return text
