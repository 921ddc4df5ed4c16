"""What can go wrong between a control plane and its router."""


class RouterError(Exception):
    """Base of everything this package raises on purpose."""


class RouterTimeoutError(RouterError):
    """The router did not answer in time."""


class RouterUnavailableError(RouterError):
    """The router cannot be started or reached as asked; the text says why."""


class FeedError(RouterError):
    """A line of the control stream is not a message of this version."""
