"""Who owns a public key, for the SSH front door."""

import time
from collections.abc import Callable

import structlog

from cygni.domain.errors import CygniError
from cygni.store import Store
from gitserver.ports import Principal

log = structlog.get_logger()


class Keys:
    """Implements the git server's KeyStore on the store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def principal(self, fingerprint: str) -> Principal | None:
        """Return the key's owner, None for an unknown key."""
        found = await self._store.keys.by_fingerprint(fingerprint)
        if found is None:
            return None
        user, _ = found
        return Principal(user.id, user.name, user.admin)


class UsedKeys:
    """Notes when keys are used, at most once in `every` seconds for each: not every command writes."""

    def __init__(self, store: Store, every: float = 60, clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._every = every
        self._clock = clock
        self._noted: dict[str, float] = {}

    async def note(self, principal: Principal) -> None:
        """The principal has logged in with its key."""
        now = self._clock()
        if now < self._noted.get(principal.key, 0):
            return
        self._noted = {key: until for key, until in self._noted.items() if until > now}
        self._noted[principal.key] = now + self._every
        try:
            await self._store.keys.used(principal.key)
        except CygniError as error:  # a full disk must not keep anybody from looking
            log.warning("the use of a key was not noted", reason=str(error))
