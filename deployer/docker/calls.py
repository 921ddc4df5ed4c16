"""The engine's short calls: through the SDK, in a few threads of our own, with its errors translated."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import docker
import docker.errors
import requests

from deployer.docker.absence import no_answer
from deployer.docker.errors import GoneError
from deployer.ports import EngineError

T = TypeVar("T")

_THREADS = 8
_CALL_SECONDS = 120


class Calls:
    """Calls to the engine behind a socket; the connection is made with the first one."""

    def __init__(self, socket: Path) -> None:
        self._url = f"unix://{socket}"
        self._client: docker.APIClient | None = None
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="docker")

    def close(self) -> None:
        """Release threads and connections."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def call(self, work: Callable[[docker.APIClient], T], timeout: float = _CALL_SECONDS) -> T:
        """Run an SDK call in one of our threads.

        Raises:
            GoneError: the engine knows no such thing.
            EngineError: it refuses, or does not answer.
        """
        loop = asyncio.get_running_loop()
        try:
            return await asyncio.wait_for(loop.run_in_executor(self._threads, self._connected, work), timeout)
        except docker.errors.NotFound as error:
            raise GoneError(str(error.explanation or error)) from error
        except docker.errors.APIError as error:
            raise EngineError(str(error.explanation or error), transient=error.is_server_error()) from error
        except (docker.errors.DockerException, requests.RequestException, TimeoutError, OSError) as error:
            raise EngineError(no_answer(error), transient=True) from error

    def _connected(self, work: Callable[[docker.APIClient], T]) -> T:
        if self._client is None:
            self._client = docker.APIClient(
                self._url, version="auto", timeout=_CALL_SECONDS, max_pool_size=_THREADS
            )
        return work(self._client)
