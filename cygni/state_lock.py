"""Who holds a state directory: one server, or one restore."""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = "serve.lock"


class HeldError(Exception):
    """Somebody else holds it."""


@contextmanager
def held(data: Path, name: str = LOCK) -> Iterator[None]:
    """Hold it; the kernel lets go of it when the process ends, however it ends.

    Raises:
        HeldError: at once, if somebody else does.
    """
    with (data / name).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise HeldError from None
        yield
