"""The audit trail's writer: one line for each change and each secret read, with its result."""

from cygni.domain.models import App
from cygni.store import Store

DONE = "done"
FAILED = "failed"
REFUSED = "refused"
LEFT = "client left"
DETAIL_LENGTH = 500


class Entry:
    """A line about one thing that somebody does.

    It is written before the thing is done, as soon as `begin` says what it is about, and gets its result
    afterwards: a server that is killed in between leaves a line without a result, never no line.
    """

    def __init__(
        self, store: Store, who: str, action: str, address: str | None, app: App | None = None
    ) -> None:
        self._store = store
        self._who = who
        self._action = action
        self._address = address
        self._seq: int | None = None
        self.app = app

    async def begin(self, detail: str = "") -> None:
        """Write the line, once; `detail` names things, never config values."""
        if self._seq is None:
            self._seq = await self._add(detail, None)

    async def end(self, result: str, detail: str = "") -> None:
        """Write the result, and the line with it where `begin` was not called."""
        if self._seq is None:
            self._seq = await self._add(detail, result)
        else:
            await self._store.events.finish(self._seq, result)

    async def _add(self, detail: str, result: str | None) -> int:
        return await self._store.events.record(
            self._who,
            self._action,
            self.app.id if self.app else None,
            detail[:DETAIL_LENGTH],
            address=self._address,
            result=result,
        )
