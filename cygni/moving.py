"""`cygni db:move URL`: from SQLite to PostgreSQL, while no server runs."""

import argparse
import sys
from collections.abc import Sequence

from config import Settings
from cygni import messages
from cygni.domain.errors import UserError
from cygni.state_lock import HeldError, held
from cygni.store.dumps import file_of, kind_of
from cygni.store.moving import move


async def run(settings: Settings, words: Sequence[str]) -> int:
    """Move the database, print how many rows of each table there were, and what to set.

    Raises:
        UserError: a server runs, or the database is not SQLite.
        StoreError: nothing was changed; the text says why.
    """
    parser = argparse.ArgumentParser(
        prog="cygni db:move", description="Move the SQLite database to an empty PostgreSQL one."
    )
    parser.add_argument("url", metavar="postgresql://USER:PASSWORD@HOST/NAME")
    given = parser.parse_args(words)
    if kind_of(settings.store_url) != "sqlite":
        raise UserError(messages.nothing_to_move())
    try:
        with held(settings.data):
            counts = await move(file_of(settings.store_url), given.url)
    except HeldError:
        raise UserError(messages.stop_first(str(settings.data))) from None
    for table, count in counts.items():
        sys.stdout.write(f"{table:12}{count:>10}\n")
    sys.stdout.write(messages.moved(str(file_of(settings.store_url))) + "\n")
    return 0
