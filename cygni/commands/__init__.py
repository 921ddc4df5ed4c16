"""One registry of commands, one module a noun, served over SSH and on the server's shell.

May import: cygni's use cases, cygni.jobs, cygni.logs, cygni.store, cygni.domain.
"""

from cygni.commands import access, apps, builds, config, health, help_command, keys, logs, ps, releases
from cygni.commands.context import Context, Ends
from cygni.commands.dispatch import EXIT_FAILED, EXIT_OK, EXIT_USAGE, dispatch
from cygni.commands.registry import Registry, registry

__all__ = [
    "EXIT_FAILED",
    "EXIT_OK",
    "EXIT_USAGE",
    "Context",
    "Ends",
    "Registry",
    "access",
    "apps",
    "builds",
    "config",
    "dispatch",
    "health",
    "help_command",
    "keys",
    "logs",
    "ps",
    "registry",
    "releases",
]
