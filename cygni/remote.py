"""From a laptop to the server: what the git remote names, and the `ssh` command line that gets there.

Importing this must stay cheap: it is what every command on a laptop waits for.
"""

import os
import shlex
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

from cygni.view import View

REMOTE = "cygni"
USER = "cygni"
PORT = 2222
GIT_SECONDS = 10
REMOTE_FLAGS = ("-r", "--remote")
TERMINAL_COMMANDS = frozenset({"run", "exec", "ps:exec", "enter"})
"""Those that are declared to take a terminal over, known here without the registry."""


class RemoteError(Exception):
    """No server is known; the text says how to name one."""


@dataclass(frozen=True)
class Server:
    """Where a remote points: the SSH destination, its port, and the app it names."""

    destination: str
    port: int | None
    app: str | None

    def url(self, app: str) -> str:
        """The git remote of an app on this server."""
        port = f":{self.port}" if self.port else ""
        return f"ssh://{self.destination}{port}/{app}"


def parse_remote(url: str) -> Server:
    """Read `ssh://user@host:port/app` or `user@host:app`."""
    if "://" in url:
        parts = urlsplit(url)
        user = f"{parts.username}@" if parts.username else ""
        return Server(f"{user}{parts.hostname}", parts.port, _app(parts.path))
    destination, _, path = url.partition(":")
    return Server(destination, None, _app(path))


def parse_server(text: str) -> Server:
    """Read what people name a server: `host`, `host:2222`, `user@host`, or a remote's URL."""
    if "://" in text:
        return parse_remote(text)
    host, _, port = text.partition(":")
    destination = host if "@" in host else f"{USER}@{host}"
    return Server(destination, int(port) if port.isdecimal() else PORT, None)


def _app(path: str) -> str | None:
    return path.strip("/").removesuffix(".git") or None


def git_remote(name: str = REMOTE) -> str | None:
    """The URL of a remote of the repository around here; None where there is none."""
    try:
        found = subprocess.run(
            ["git", "remote", "get-url", name],
            capture_output=True,
            text=True,
            check=False,
            timeout=GIT_SECONDS,
        )
    except OSError:
        return None
    return found.stdout.strip() or None if found.returncode == 0 else None


def find_server(remote: str | None, name: str = REMOTE) -> Server:
    """The server that `CYGNI_REMOTE` names, else the git remote.

    Raises:
        RemoteError: neither is there.
    """
    url = git_remote(name) if name != REMOTE else remote or git_remote()
    if url is None:
        raise RemoteError(
            f"Which server? Here is no git remote named {name}, and neither CYGNI_REMOTE nor CYGNI_DATA is set.\n"
            "Make this directory an app: cygni init --server HOST\n"
            f"Or add the remote of one that exists: git remote add {name} ssh://cygni@HOST:2222/APP"
        )
    return parse_remote(url)


class Transport(Protocol):
    """How commands get to a server."""

    def arguments(self, words: Sequence[str], view: View) -> list[str]:
        """The program to run for a command, with its arguments."""
        ...


@dataclass(frozen=True)
class OverSsh:
    """Through OpenSSH's own `ssh`, with the person's keys, agent and configuration."""

    server: Server

    def arguments(self, words: Sequence[str], view: View) -> list[str]:
        """The `ssh` command line; words are quoted for the server's parser.

        A command that can take a terminal over gets the one that a person sits at; a script's streams stay apart.
        """
        port = ["-p", str(self.server.port)] if self.server.port else []
        terminal = ["-t"] if words[0] in TERMINAL_COMMANDS and view.columns and view.interactive else []
        return ["ssh", *port, *terminal, "--", self.server.destination, shlex.join([view.word(), *words])]


@dataclass(frozen=True)
class OnThisMachine:
    """Through the server's state directory, as its owner."""

    def arguments(self, words: Sequence[str], view: View) -> list[str]:
        """This program again."""
        del view
        return [sys.argv[0], *words]


def terminal_view(app: str | None, *, colour: bool) -> View:
    """What is known of the terminal that this process writes to; `colour` says whether the person wants any."""
    shown = sys.stdout.isatty()
    return View(
        app=app,
        columns=os.get_terminal_size(sys.stdout.fileno()).columns if shown else None,
        colour=shown and colour,
        interactive=sys.stdin.isatty() and sys.stderr.isatty(),
    )


def take_remote_flag(words: Sequence[str]) -> tuple[list[str], str]:
    """Separate `-r NAME` or `--remote NAME`, which chooses another git remote, from the command.

    It may stand anywhere but behind `--`; with `run` and `exec`, whose words are somebody else's, in front only.
    """
    rest, name = list(words), REMOTE
    while len(rest) > 1 and rest[0] in REMOTE_FLAGS:
        name, rest = rest[1], rest[2:]
    if rest and rest[0] in TERMINAL_COMMANDS:
        return rest, name
    end = rest.index("--") if "--" in rest else len(rest)
    for at in range(end - 2, -1, -1):
        if rest[at] in REMOTE_FLAGS:
            name = rest[at + 1]
            del rest[at : at + 2]
    return rest, name
