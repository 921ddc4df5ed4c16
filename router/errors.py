"""What this package raises on purpose."""


class RouterError(Exception):
    """Base of everything this package raises on purpose."""


class RouterTimeoutError(RouterError):
    """The router did not answer in time."""


class RouterUnavailableError(RouterError):
    """The router cannot be started or reached as asked; the text says why."""


class FeedError(RouterError):
    """A line of the control stream is not a message of this version."""


class RefusedError(RouterError):
    """A head or body that must not be passed on; `status` is the answer to a client."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
