"""One registry of commands, one module a noun, served over SSH, on the server's shell and from laptops.

May import: cygni's use cases, cygni.jobs, cygni.logs, cygni.store, cygni.domain.
"""

from cygni.commands import (
    access,
    apps,
    backups,
    builds,
    certs,
    config,
    config_files,
    events,
    git,
    health,
    help_command,
    keys,
    laptop,
    limits,
    logs,
    ps,
    releases,
    run,
    server,
    users,
)
from cygni.commands.context import Context, Ends
from cygni.commands.dispatch import EXIT_FAILED, EXIT_LATER, EXIT_OK, EXIT_USAGE, dispatch
from cygni.commands.registry import Registry, registry

__all__ = [
    "EXIT_FAILED",
    "EXIT_LATER",
    "EXIT_OK",
    "EXIT_USAGE",
    "Context",
    "Ends",
    "Registry",
    "access",
    "apps",
    "backups",
    "builds",
    "certs",
    "config",
    "config_files",
    "dispatch",
    "events",
    "git",
    "health",
    "help_command",
    "keys",
    "laptop",
    "limits",
    "logs",
    "ps",
    "registry",
    "releases",
    "run",
    "server",
    "users",
]
