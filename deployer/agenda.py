"""Which apps need a look, and when."""

import asyncio


class Agenda:
    """A set of app ids with timers: an app is in it once, however often it was marked."""

    def __init__(self) -> None:
        self._due: dict[str, None] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._filled = asyncio.Event()

    def mark(self, app_id: str) -> None:
        """Have the app looked at as soon as possible."""
        self._due[app_id] = None
        self._filled.set()

    def mark_in(self, app_id: str, seconds: float) -> None:
        """Have the app looked at later; of several times the earliest counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(app_id)
        if timer is not None and not timer.cancelled() and timer.when() <= loop.time() + seconds:
            return
        if timer is not None:
            timer.cancel()
        self._timers[app_id] = loop.call_later(seconds, self._ring, app_id)

    async def next(self) -> str:
        """Wait for the next app."""
        while not self._due:
            self._filled.clear()
            await self._filled.wait()
        app_id = next(iter(self._due))
        del self._due[app_id]
        return app_id

    def close(self) -> None:
        """Cancel the timers."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _ring(self, app_id: str) -> None:
        self._timers.pop(app_id, None)
        self.mark(app_id)
