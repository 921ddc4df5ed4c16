"""The store: one database, opened, migrated, unlocked, behind its repositories."""

from pathlib import Path
from typing import Self

from cygni.store.access import Access
from cygni.store.apps import Apps
from cygni.store.builds import Builds
from cygni.store.certificates import Certificates
from cygni.store.database import Database, translated
from cygni.store.engine import create_engine, prepare
from cygni.store.events import Events
from cygni.store.jobs import Jobs
from cygni.store.keyring import Keyring
from cygni.store.limits import Limits
from cygni.store.migrate import migrate
from cygni.store.notifier import Notifier
from cygni.store.releases import Releases
from cygni.store.server import Server, unlock
from cygni.store.settings import Config, Formation
from cygni.store.users import Keys, Users


class Store:
    """Every repository, on one database. Each call is one transaction; a call that returned is durable."""

    def __init__(self, database: Database, keyring: Keyring) -> None:
        self.database = database
        self.users = Users(database)
        self.keys = Keys(database)
        self.apps = Apps(database)
        self.access = Access(database)
        self.certificates = Certificates(database, keyring)
        self.config = Config(database, keyring)
        self.formation = Formation(database)
        self.limits = Limits(database)
        self.builds = Builds(database)
        self.releases = Releases(database, keyring)
        self.jobs = Jobs(database)
        self.events = Events(database)
        self.server = Server(database)

    @classmethod
    async def open(cls, url: str, key_file: Path) -> Self:
        """Open a database (`sqlite:///PATH`, `postgresql://…`); a new one is set up, an older one migrated.

        Raises:
            StoreError: the database cannot be used; the text says why.
            KeyFileError: the key file is missing, damaged, exposed, or of another database.
        """
        engine = create_engine(url)
        try:
            with translated():
                await prepare(engine)
            await migrate(engine)
            database = Database(engine, Notifier())
            store = cls(database, await unlock(database, key_file))
            await database.listen()
            return store
        except BaseException:
            await engine.dispose()
            raise

    async def close(self) -> None:
        """Close every connection."""
        await self.database.close()
