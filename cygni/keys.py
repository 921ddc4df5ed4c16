"""Who owns a public key, for the SSH front door."""

from cygni.store import Store
from gitserver.ports import Principal


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
