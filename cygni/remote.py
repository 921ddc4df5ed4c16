"""Commands from a laptop: OpenSSH carries them to the server that the git remote names."""

import os
import shlex
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from config.client import Client

REMOTE = "cygni"
APP_FLAGS = ("-a", "--app")


@dataclass(frozen=True)
class Server:
    """Where a remote points: the SSH destination, its port, and the app it names."""

    destination: str
    port: int | None
    app: str | None


def parse_remote(url: str) -> Server:
    """Read `ssh://user@host:port/app` or `user@host:app`."""
    if "://" in url:
        parts = urlsplit(url)
        user = f"{parts.username}@" if parts.username else ""
        return Server(f"{user}{parts.hostname}", parts.port, _app(parts.path))
    destination, _, path = url.partition(":")
    return Server(destination, None, _app(path))


def _app(path: str) -> str | None:
    return path.strip("/").removesuffix(".git") or None


def run_remote(here: Client, words: Sequence[str], fail: Callable[[str, int], int]) -> int:
    """Replace this process by `ssh` running the command on the server; returns only on failure."""
    url = here.remote or _git_remote()
    if url is None:
        return fail(
            "Which server? Here is no git remote named cygni, and neither CYGNI_REMOTE nor CYGNI_DATA is set.\n"
            "Add one: git remote add cygni ssh://cygni@HOST:2222/APP",
            1,
        )
    server = parse_remote(url)
    return os.execvp("ssh", ssh_arguments(server, here.app, words))  # noqa: S606 - argument list, no shell on this side


def ssh_arguments(server: Server, app: str | None, words: Sequence[str]) -> list[str]:
    """The `ssh` command line for a command; its words are quoted for the server's parser."""
    port = ["-p", str(server.port)] if server.port else []
    app = app or server.app
    words = list(words)
    if app and not any(word in APP_FLAGS or word.startswith("--app=") for word in words):
        words = _with_app(words, app)
    return ["ssh", *port, "--", server.destination, shlex.join(words)]


def _with_app(words: list[str], app: str) -> list[str]:
    from cygni.commands import registry

    command = registry.find(words[0])
    return [words[0], "-a", app, *words[1:]] if command is not None and command.takes_app else words


def _git_remote() -> str | None:
    found = subprocess.run(
        ["git", "remote", "get-url", REMOTE], capture_output=True, text=True, check=False, timeout=10
    )
    return found.stdout.strip() or None if found.returncode == 0 else None
