"""What can go wrong inside the application. Sentences for people are in `cygni/messages.py`."""


class CygniError(Exception):
    """Base of everything the application raises on purpose."""


class UserError(CygniError):
    """The person's request cannot be carried out as it stands; the text says what to do."""


class NotFoundError(UserError):
    """No such thing, or no right to see it: one text for both."""


class ForbiddenError(UserError):
    """The person may know of it, and may not do this."""


class ConflictError(UserError):
    """The state does not allow it now."""


class TransientError(CygniError):
    """Trying again later may work; the worker does so."""


class BuildError(UserError):
    """A commit did not become an image; `id` names the cause for programs (`python/bad-version`)."""

    def __init__(self, text: str, *, failure_id: str, headline: str) -> None:
        super().__init__(text)
        self.failure_id = failure_id
        self.headline = headline
        """One line, for lists of builds."""


class ReleaseError(UserError):
    """A release did not go live; the one before goes on serving."""
