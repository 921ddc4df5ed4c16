"""What the platform itself has to say in an app's log."""

from datetime import UTC, datetime

from cygni.logs import LogRecord, LogStore

SOURCE = "cygni"
PROCESS = "platform"


class Reports:
    """Writes platform lines between the lines of the app and of the router."""

    def __init__(self, logs: LogStore) -> None:
        self._logs = logs

    async def __call__(self, app_id: str, text: str) -> None:
        """Add one line to the app's log."""
        await self._logs.append(app_id, [LogRecord(datetime.now(UTC), SOURCE, PROCESS, text)])
