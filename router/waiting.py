"""Where requests wait for their turn: bounded, first come first served."""

from router.ports import Held


class WaitingRoom:
    """Requests that wait for one event."""

    __slots__ = ("_limit", "_waiting")

    def __init__(self, limit: int) -> None:
        """At most `limit` wait at a time."""
        self._limit = limit
        self._waiting: dict[Held, None] = {}

    def __len__(self) -> int:
        return len(self._waiting)

    def enter(self, request: Held) -> bool:
        """Let a request wait until it is resumed; False when too many wait already."""
        if len(self._waiting) >= self._limit:
            return False
        self._waiting[request] = None
        return True

    def leave(self, request: Held) -> None:
        """A request waits no longer."""
        self._waiting.pop(request, None)

    def resume_next(self) -> None:
        """Let the one that has waited longest go on."""
        request = next(iter(self._waiting), None)
        if request is not None:
            del self._waiting[request]
            request.resume()

    def resume_all(self) -> None:
        """Let everybody who waits now go on; who comes back waits for the next time."""
        waiting, self._waiting = self._waiting, {}
        for request in waiting:
            request.resume()
