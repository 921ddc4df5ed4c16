"""Why the engine did not answer, in words: the libraries' own texts are nests of class names."""

from collections.abc import Iterator

import requests

_WORDS: tuple[tuple[type[BaseException], str], ...] = (
    (FileNotFoundError, "its socket is not there"),
    (ConnectionRefusedError, "nobody listens on its socket"),
    (PermissionError, "this user may not open its socket; the group docker may"),
    (TimeoutError, "it took too long"),
    (requests.Timeout, "it took too long"),
)
_DEPTH = 6


def no_answer(error: BaseException) -> str:
    """One clause: `the engine does not answer: nobody listens on its socket`."""
    causes = list(_causes(error, _DEPTH))
    reason = next((words for cause in causes for kind, words in _WORDS if isinstance(cause, kind)), None)
    return f"the engine does not answer: {reason or 'the connection broke'}"


def _causes(error: object, depth: int) -> Iterator[BaseException]:
    """The error and what is wrapped in it, as arguments or as causes."""
    if not isinstance(error, BaseException) or depth == 0:
        return
    yield error
    for inner in (*error.args, getattr(error, "os_error", None), error.__cause__, error.__context__):
        yield from _causes(inner, depth - 1)
