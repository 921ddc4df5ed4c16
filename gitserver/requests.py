"""What a client's exec request asks for: git, a command, or something that is not offered here."""

import re
import shlex
from dataclasses import dataclass

from gitserver.ports import Service

MAX_COMMAND = 65_536


@dataclass(frozen=True)
class GitRequest:
    """A push or fetch of the repository that the client calls `name`."""

    service: Service
    name: str


@dataclass(frozen=True)
class CommandRequest:
    """Anything else: for the command handler, as it was sent."""

    command: str


@dataclass(frozen=True)
class Unsupported:
    """Something that is recognised and not offered. `git` says that the client reads pkt-lines."""

    text: str
    git: bool = False


Request = GitRequest | CommandRequest | Unsupported

_SERVICES: dict[str, Service] = {"git-receive-pack": "receive-pack", "git-upload-pack": "upload-pack"}
_TWO_WORDS = re.compile(r"^git[ ]+(receive-pack|upload-pack|upload-archive)\b")
_NO_SHELL = "Hi {name}! You are connected, but there is no shell here. Run `ssh … help` to see the commands."
_UNSUPPORTED = {
    "scp": "Copying files with scp is not offered here.",
    "sftp-server": "sftp is not offered here.",
    "rsync": "rsync is not offered here.",
    "git-lfs-authenticate": "Git LFS is not offered here. Commit the files themselves, or keep them elsewhere.",
    "git-lfs-transfer": "Git LFS is not offered here. Commit the files themselves, or keep them elsewhere.",
}
_NO_ARCHIVE = "git archive --remote is not offered here; clone the repository instead"
_MALFORMED = "this is not how git asks for a repository; use ssh://HOST/APP"


def no_shell(name: str) -> str:
    """Return the greeting for a client that asks for a shell."""
    return _NO_SHELL.format(name=name)


def no_subsystem(subsystem: str) -> str:
    """Return the sentence for a client that asks for a subsystem."""
    return (
        _UNSUPPORTED["sftp-server"] if subsystem == "sftp" else f"There is no subsystem {subsystem!r} here."
    )


def parse(command: str) -> Request:
    """Classify a command line."""
    command = command.strip()
    joined = _TWO_WORDS.sub(r"git-\1", command)
    program = joined.split(None, 1)[0] if joined else ""
    if program in _SERVICES:
        return _git(_SERVICES[program], joined)
    if program == "git-upload-archive":
        return Unsupported(_NO_ARCHIVE, git=True)
    if program in _UNSUPPORTED:
        return Unsupported(_UNSUPPORTED[program])
    return CommandRequest(command)


def _git(service: Service, command: str) -> Request:
    try:
        words = shlex.split(command)
    except ValueError:
        return Unsupported(_MALFORMED, git=True)
    if len(words) != 2 or not words[1] or words[1].startswith("-"):
        return Unsupported(_MALFORMED, git=True)
    return GitRequest(service, repository_name(words[1]))


def repository_name(path: str) -> str:
    """Return the name in `/name`, `~/name`, `name.git`, `name/` and mixtures of them."""
    name = path.removeprefix("~").removeprefix("/") if path.startswith(("/", "~/")) else path
    return name.rstrip("/").removesuffix(".git")
