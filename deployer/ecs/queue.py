"""The cluster's task events, as EventBridge puts them into a queue: reasons to look, not facts."""

import asyncio
import contextlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import structlog

from deployer.ecs.aws import Aws
from deployer.ecs.tasks import task_id
from deployer.ports import EngineError

_AT_ONCE = 10
_PAUSE = 5.0

log = structlog.get_logger()


class Queue:
    """Asks the queue with long polls and tells which tasks have changed; what is told is deleted.

    Events come late, twice and in any order, so each only names a task to describe. Where the queue does not
    answer, the board's own looks go on.
    """

    def __init__(self, aws: Aws, url: str, long_poll: int, changed: Callable[[Sequence[str]], None]) -> None:
        self._aws = aws
        self._url = url
        self._long_poll = long_poll
        self._changed = changed
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask from now on."""
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Ask no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _follow(self) -> None:
        while True:
            try:
                await self._once()
            except Exception as error:
                known = isinstance(error, EngineError)
                log.warning("the queue of ECS events", error=str(error), exc_info=not known)
                await asyncio.sleep(_PAUSE)

    async def _once(self) -> None:
        answer = await self._aws.poll(
            "sqs",
            "receive_message",
            QueueUrl=self._url,
            WaitTimeSeconds=self._long_poll,
            MaxNumberOfMessages=_AT_ONCE,
        )
        messages = answer.get("Messages") or []
        if not messages:
            return
        self._changed(sorted(set(_tasks(messages))))
        done = [
            {"Id": str(number), "ReceiptHandle": message["ReceiptHandle"]}
            for number, message in enumerate(messages)
        ]
        await self._aws.call("sqs", "delete_message_batch", QueueUrl=self._url, Entries=done)


def _tasks(messages: Iterable[Mapping[str, Any]]) -> Iterable[str]:
    for message in messages:
        with contextlib.suppress(ValueError, KeyError, TypeError):
            yield task_id(json.loads(message["Body"])["detail"]["taskArn"])
