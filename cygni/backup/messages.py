"""Every sentence about backups: what happened, why, what to do."""

PASSPHRASE = "CYGNI_BACKUP_PASSPHRASE"  # noqa: S105 - its name
MEBIBYTE = 1 << 20


def no_passphrase() -> str:
    """Nothing is written in the clear, and nothing can be read without it."""
    return (
        f"{PASSPHRASE} is not set. Backups are encrypted with it: choose a long one, and keep it where it "
        "outlives this machine. Without it a backup cannot be read."
    )


def no_target() -> str:
    """Neither on the command line nor in the settings."""
    return "Name the directory: cygni backup DIR, or set CYGNI_BACKUP_DIR."


def nothing_to_back_up(data: object) -> str:
    """No server has ever run on this state directory."""
    return f"There is no database in {data}: is CYGNI_DATA right?"


def other_backup_runs() -> str:
    """Two would read and write the same files."""
    return "Another backup of this server is running. Try again when it is done."


def cannot(what: str, path: object, why: object) -> str:
    """A file that cannot be read or written."""
    return f"{path} cannot be {what}: {why}."


def made(path: object, size: int, apps: int, removed: int) -> str:
    """The last line of a backup."""
    old = f"; {removed} older removed" if removed else ""
    return f"{path}: {apps} apps, {size / MEBIBYTE:.1f} MiB{old}"


def commit_missing(app: str, version: int, commit: str) -> str:
    """A live release whose push was cut off after the swap; told to the operator, the backup goes on."""
    return (
        f"Warning: the commit {commit[:7]} of {app}'s live release v{version} is not in its repository, because the push "
        "was cut off. A restore cannot rebuild that image: push the commit again, then back up again."
    )


# Reading


def not_a_backup(path: object) -> str:
    """The first bytes are something else's."""
    return f"{path} is not a backup of Cygni."


def newer_format(path: object) -> str:
    """Made by a later version."""
    return f"{path} was made by a newer Cygni. Install that one or newer, then restore."


def wrong_passphrase(path: object) -> str:
    """The header does not fit the passphrase."""
    return f"{PASSPHRASE} is not the passphrase of {path} (or the file's first bytes are damaged)."


def truncated(path: object) -> str:
    """The last chunk is missing."""
    return f"{path} is incomplete: its end is missing. Copy it again, or take an older one."


def damaged(path: object, position: int) -> str:
    """A chunk that does not authenticate."""
    return f"{path} is damaged near byte {position}. Copy it again, or take an older one."


def not_as_listed(path: object, name: str) -> str:
    """The archive's contents differ from its manifest."""
    return f"{path} is damaged: {name} is not what the manifest lists. Take an older one."


def no_backups(directory: object) -> str:
    """An empty shelf."""
    return f"There is no backup in {directory}."


def several_servers(directory: object, identities: list[str]) -> str:
    """Which one is meant cannot be guessed."""
    return f"{directory} has backups of several servers ({', '.join(identities)}). Name the file."


def verified(path: object, files: int, apps: int, created: str) -> str:
    """The last line of backup:verify."""
    return f"{path}: whole, made {created}, {apps} apps, {files} files"


# Restoring


def not_empty(data: object, names: list[str]) -> str:
    """A restore never overwrites."""
    shown = ", ".join(names[:5]) + (", …" if len(names) > 5 else "")
    return f"{data} is not empty ({shown}). A restore needs an empty state directory: move what is there away first."


def in_use(data: object) -> str:
    """A server or another restore holds it."""
    return f"{data} is in use by a running server or another restore."


def database_not_empty() -> str:
    """A restore never overwrites."""
    return "The database of CYGNI_DATABASE_URL is not empty. Make a new one for the restore."


def newer_schema(revision: str, known: str) -> str:
    """Migrations only go forward."""
    return (
        f"The backup's database has revision {revision}, this Cygni knows only {known}: a newer Cygni wrote it. "
        "Install that one or newer, then restore."
    )


def other_database(backup: str) -> str:
    """A backup is restored into the kind of database that it came from."""
    if backup == "sqlite":
        return (
            "This is a backup of SQLite. Restore it without CYGNI_DATABASE_URL; afterwards `cygni db:move` moves "
            "it to PostgreSQL."
        )
    return "This is a backup of PostgreSQL. Set CYGNI_DATABASE_URL to an empty database, then restore."


def restored(path: object, data: object, apps: int) -> str:
    """The last line of a restore."""
    return (
        f"Restored {apps} apps from {path} to {data}. Start the server: it builds the images that the engine lacks "
        "from the repositories, then every app answers as before."
    )
