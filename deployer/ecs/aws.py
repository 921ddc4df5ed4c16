"""Calls to AWS: one client a service, bounded threads, adaptive retries, every call counted."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from threading import Lock
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from deployer.ecs.errors import refused, unanswered

_THREADS = 8
_ATTEMPTS = 8
_CONNECT_SECONDS = 5
_READ_SECONDS = 60


class Aws:
    """Clients are made at their first call and shared by all threads, which botocore allows; sessions are not."""

    def __init__(self, region: str, session: Any = None) -> None:
        self._region = region
        self._session = session or boto3.Session()
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="aws")
        self._polls = ThreadPoolExecutor(1, thread_name_prefix="aws-queue")
        self._clients: dict[str, Any] = {}
        self._making = Lock()
        self.calls: Counter[str] = Counter()
        """How often each operation was asked for, for rates and tests."""

    async def call(self, service: str, operation: str, /, **arguments: Any) -> Mapping[str, Any]:
        """Call `ecs`, `create_service` and return the answer.

        Raises:
            AwsError: AWS refused.
            EngineError: AWS did not answer.
        """
        return await self._run(self._threads, service, operation, arguments)

    async def poll(self, service: str, operation: str, /, **arguments: Any) -> Mapping[str, Any]:
        """As `call`, for one question at a time that stays open for long: it takes no other call's thread."""
        return await self._run(self._polls, service, operation, arguments)

    async def _run(
        self, threads: ThreadPoolExecutor, service: str, operation: str, arguments: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        self.calls[operation] += 1
        name = f"{service}:{''.join(part.title() for part in operation.split('_'))}"
        work = partial(self._call, service, operation, arguments)
        try:
            found: Mapping[str, Any] = await asyncio.get_running_loop().run_in_executor(threads, work)
        except ClientError as error:
            raise refused(name, error.response) from error
        except (BotoCoreError, OSError) as error:
            raise unanswered(name, error) from error
        return found

    def _call(self, service: str, operation: str, arguments: Mapping[str, Any]) -> Any:
        return getattr(self._client(service), operation)(**arguments)

    def _client(self, service: str) -> Any:
        with self._making:
            if service not in self._clients:
                config = Config(
                    region_name=self._region,
                    retries={"mode": "adaptive", "max_attempts": _ATTEMPTS},
                    max_pool_connections=_THREADS + 1,
                    connect_timeout=_CONNECT_SECONDS,
                    read_timeout=_READ_SECONDS,
                )
                self._clients[service] = self._session.client(service, config=config)
            return self._clients[service]

    def close(self) -> None:
        """Release connections and threads; a poll that is open ends by itself."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._polls.shutdown(wait=False, cancel_futures=True)
        for client in self._clients.values():
            client.close()
