"""backup, backup:verify, restore, db:move: programs on the state directory, for the server's own shell.

`cygni` carries them out without a server (`cygni/cli.py`); these declarations give help and completion, and say where
to go to those who ask elsewhere.
"""

from pathlib import Path
from typing import Annotated

from cygni.commands import texts
from cygni.commands.context import Context
from cygni.commands.registry import Access, Argument, Flag, registry
from cygni.domain.errors import UserError


@registry.command(
    "backup",
    offline=True,
    access=Access.SERVER_ADMIN,
    examples=("backup /mnt/backups", "backup /mnt/backups --keep 14"),
)
async def backup(
    context: Context,
    directory: Annotated[str | None, Argument("DIR", "default: CYGNI_BACKUP_DIR")] = None,
    *,
    keep: Annotated[
        int | None, Flag("remove this server's older ones, so that N are left", metavar="N")
    ] = None,
) -> None:
    """Back the server up into one encrypted file, while it runs or not; on the server's own shell.

    The passphrase is in CYGNI_BACKUP_PASSPHRASE. The database, repositories, keys and the newest logs are in it; images
    are built again after a restore. See docs/backup.md.
    """
    del directory, keep
    raise UserError(texts.on_the_servers_shell("backup", _data(context)))


@registry.command(
    "backup:verify",
    offline=True,
    access=Access.SERVER_ADMIN,
    examples=("backup:verify /mnt/backups",),
)
async def verify(
    context: Context,
    source: Annotated[str | None, Argument("DIR|FILE", "default: CYGNI_BACKUP_DIR")] = None,
) -> None:
    """Read a backup, or a directory's newest, to its end: passphrase, checksums, completeness."""
    del source
    raise UserError(texts.on_the_servers_shell("backup:verify", _data(context)))


@registry.command("restore", offline=True, access=Access.SERVER_ADMIN, examples=("restore /mnt/backups",))
async def restore(
    context: Context, source: Annotated[str, Argument("DIR|FILE", "a backup, or a directory's newest")]
) -> None:
    """Restore a backup into an empty CYGNI_DATA, then start the server: apps, releases and URLs are as before."""
    del source
    raise UserError(texts.on_the_servers_shell("restore", _data(context)))


@registry.command(
    "db:move",
    offline=True,
    access=Access.SERVER_ADMIN,
    examples=("db:move postgresql://cygni:PASSWORD@db.example.com/cygni",),
)
async def move(
    context: Context, url: Annotated[str, Argument("URL", "an empty PostgreSQL database")]
) -> None:
    """Move the SQLite database to PostgreSQL while no server runs, and count the rows on both sides."""
    del url
    raise UserError(texts.on_the_servers_shell("db:move", _data(context)))


def _data(context: Context) -> Path:
    return context.services.settings.data
