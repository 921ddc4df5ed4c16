"""What leaves after a swap is drained and stopped behind the person's back; nobody waits for it."""

import asyncio
from collections import Counter
from collections.abc import Callable

import structlog

from deployer.ports import Report
from deployer.retirement import Retirement

log = structlog.get_logger()


class Retirements:
    """Finishes retirements in the background. Losing one to a crash is fine: the reconciler goes on."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._tell: Callable[[str], None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._apps: Counter[str] = Counter()

    def tell(self, ended: Callable[[str], None]) -> None:
        """Have `ended` called with the app's id after each retirement."""
        self._tell = ended

    def start(self, app_id: str, retirement: Retirement) -> None:
        """Finish this retirement in a task of its own; its patience bounds it."""
        self._apps[app_id] += 1
        task = asyncio.create_task(self._finish(app_id, retirement))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def busy(self, app_id: str) -> bool:
        """Whether instances of the app are being drained or stopped."""
        return self._apps[app_id] > 0

    async def close(self) -> None:
        """Stop waiting for what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _finish(self, app_id: str, retirement: Retirement) -> None:
        try:
            for problem in await retirement.finish():
                log.warning("retirement", app_id=app_id, problem=problem)
                await self._report(app_id, problem)
        except Exception:
            log.exception("retirement failed", app_id=app_id)
        finally:
            self._apps[app_id] -= 1
            if self._tell is not None:
                self._tell(app_id)
