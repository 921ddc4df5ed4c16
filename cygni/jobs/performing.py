"""Runs one job's handler to an outcome: limits, retries, and errors as text."""

import asyncio
from dataclasses import dataclass

import structlog

from cygni.domain.errors import TransientError, UserError
from cygni.domain.models import Job, JobStatus
from cygni.jobs.kinds import JobKind, Retry

RESULT_CHARACTERS = 4000

log = structlog.get_logger()


@dataclass(frozen=True)
class Outcome:
    """How a job ended."""

    status: JobStatus
    result: str | None


async def perform(kind: JobKind | None, job: Job, retry: Retry) -> Outcome:
    """Run the handler; every error but cancellation becomes an outcome."""
    structlog.contextvars.bind_contextvars(job=job.id, kind=job.kind, app=job.app_id)
    if kind is None:
        return Outcome(JobStatus.FAILED, f"This server does not know how to do {job.kind!r}.")
    limit = asyncio.timeout(kind.limit)
    try:
        async with limit:
            return Outcome(JobStatus.DONE, await _with_retries(kind, job, retry))
    except TimeoutError as error:
        text = f"It took longer than {kind.limit:g} seconds." if limit.expired() else None
        return _failed(error, text)
    except Exception as error:  # noqa: BLE001  # a handler's mistake fails its job, never the worker
        return _failed(_cause(error))


async def _with_retries(kind: JobKind, job: Job, retry: Retry) -> str | None:
    for failed in range(1, retry.tries):
        try:
            return await kind.handler(job)
        except Exception as error:
            if not isinstance(_cause(error), TransientError):
                raise
            delay = retry.delay(failed)
            log.warning(
                "job will be tried again", error=str(_cause(error)), failed=failed, seconds=round(delay, 2)
            )
            await asyncio.sleep(delay)
    return await kind.handler(job)


def _failed(error: Exception, text: str | None = None) -> Outcome:
    if isinstance(error, UserError | TransientError):
        log.info("job failed", error=str(error))
        return Outcome(JobStatus.FAILED, str(error)[:RESULT_CHARACTERS])
    log.error("job failed unexpectedly", exc_info=error)
    return Outcome(JobStatus.FAILED, (text or f"{type(error).__name__}: {error}")[:RESULT_CHARACTERS])


def _cause(error: Exception) -> Exception:
    """The one error in a task group's wrapping."""
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return error
