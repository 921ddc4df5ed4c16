"""What `cygni` does on a laptop beside carrying commands: init, git:remote, open, config:edit.

May be used on the server's own shell as well; only the transport differs.
"""

import json
import shlex
import subprocess
import sys
import tempfile
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from cygni import dotenv
from cygni.domain.names import is_app_name
from cygni.remote import (
    REMOTE,
    OverSsh,
    RemoteError,
    Server,
    Transport,
    find_server,
    git_remote,
    parse_server,
)
from cygni.view import View

CALL_SECONDS = 3600


class LaptopError(Exception):
    """What was asked cannot be done here; the text says why."""

    def __init__(self, text: str, code: int = 1) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True)
class Wish:
    """A laptop command's words, taken apart."""

    app: str | None
    flags: dict[str, str]
    words: tuple[str, ...]


@dataclass(frozen=True)
class Laptop:
    """Runs the laptop's commands. `app` is what the directory or `CYGNI_APP` says."""

    transport: Callable[[], Transport]
    app: str | None
    remote: str | None
    editor: str

    def init(self, words: Sequence[str]) -> int:
        """`cygni init [NAME] [--server HOST]`."""
        wish = _read(words, {"--server"})
        name = wish.words[0] if wish.words else _name_of(Path.cwd())
        if not is_app_name(name):
            raise LaptopError(f"{name!r} cannot be an app's name. Give one: cygni init NAME --server HOST", 2)
        server = self._server(wish)
        if subprocess.run(["git", "rev-parse", "--git-dir"], capture_output=True, check=False).returncode:
            _git("init", "--quiet", "--initial-branch=main")
        made = _call(OverSsh(server).arguments(["apps:create", name], View()))
        if made.returncode and _call(OverSsh(server).arguments(["apps:info", "-a", name], View())).returncode:
            raise LaptopError(made.stderr.decode(errors="replace").strip() or "The server cannot be reached.")
        _point_remote(REMOTE, server.url(name))
        _tell(
            f"Created {name} and the remote {REMOTE}."
            if not made.returncode
            else f"{name} exists; remote set."
        )
        _tell("Next: git push cygni main")
        return 0

    def git_remote(self, words: Sequence[str]) -> int:
        """`cygni git:remote -a APP [--server HOST] [--name REMOTE]`."""
        wish = _read(words, {"--server", "--name"})
        app = wish.app or (wish.words[0] if wish.words else None) or self.app
        if app is None:
            raise LaptopError("Which app? cygni git:remote -a APP", 2)
        url = self._server(wish).url(app)
        _point_remote(wish.flags.get("--name", REMOTE), url)
        _tell(f"{wish.flags.get('--name', REMOTE)} is {url}")
        return 0

    def open(self, words: Sequence[str]) -> int:
        """`cygni open [-a APP]`."""
        wish = _read(words, set())
        app = wish.app or (wish.words[0] if wish.words else None)
        facts = json.loads(self._ask(["apps:info", *(["-a", app] if app else []), "--json"]))
        print(facts["url"])  # noqa: T201 - this is a command line program
        webbrowser.open(facts["url"])
        return 0

    def edit(self, words: Sequence[str]) -> int:
        """`cygni config:edit [-a APP]`."""
        wish = _read(words, set())
        app = wish.app or (wish.words[0] if wish.words else None)
        named = ["-a", app] if app else []
        before = dotenv.parse(self._ask(["config:export", *named, "--json"]))
        after = _edited(before, self.editor)
        if after == before:
            _tell("Nothing was changed.")
            return 0
        arguments = ["config:import", *named, "--replace", "--base", dotenv.digest(before)]
        done = subprocess.run(
            self._arguments(arguments), input=json.dumps(after).encode(), check=False, timeout=CALL_SECONDS
        )
        return done.returncode

    def _server(self, wish: Wish) -> Server:
        named = wish.flags.get("--server")
        if named is not None:
            return parse_server(named)
        try:
            return find_server(self.remote)
        except RemoteError as error:
            raise LaptopError(str(error)) from None

    def _ask(self, words: Sequence[str]) -> str:
        done = _call(self._arguments(words))
        if done.returncode:
            raise LaptopError(
                done.stderr.decode(errors="replace").strip().removeprefix("!").strip(), done.returncode
            )
        return done.stdout.decode()

    def _arguments(self, words: Sequence[str]) -> list[str]:
        return self.transport().arguments(words, View(app=self.app))


def _read(words: Sequence[str], known: set[str]) -> Wish:
    app, flags, rest = None, {}, []
    remaining = list(words)
    while remaining:
        word = remaining.pop(0)
        name, equals, value = word.partition("=")
        if not word.startswith("-"):
            rest.append(word)
            continue
        if name not in {"-a", "--app", *known}:
            raise LaptopError(f"There is no flag {name} here. `cygni help` shows how it is used.", 2)
        if not equals:
            if not remaining:
                raise LaptopError(f"{name} needs a value.", 2)
            value = remaining.pop(0)
        if name in {"-a", "--app"}:
            app = value
        else:
            flags[name] = value
    return Wish(app, flags, tuple(rest))


def _edited(values: dict[str, str], editor: str) -> dict[str, str]:
    """What the person's editor makes of it; asks again while it cannot be read."""
    head = (
        "# Config vars, one NAME=value a line. Saving rolls them out; a file without them changes nothing.\n"
    )
    with tempfile.TemporaryDirectory(prefix="cygni-") as folder:
        path = Path(folder) / "config.env"
        path.touch(mode=0o600)
        path.write_text(head + dotenv.dump(values))
        while True:
            if subprocess.run([*shlex.split(editor), str(path)], check=False).returncode:
                raise LaptopError("The editor did not end well, so nothing was changed.")
            try:
                found = dotenv.parse(path.read_text())
            except dotenv.ConfigFileError as error:
                if not (sys.stdin.isatty() and _again(str(error))):
                    raise LaptopError(f"{error} Nothing was changed.") from None
            else:
                return found or values


def _again(problem: str) -> bool:
    _tell(problem)
    return input("Edit again? [Y/n] ").strip().lower() in {"", "y", "yes"}


def _point_remote(name: str, url: str) -> None:
    _git("remote", "set-url" if git_remote(name) else "add", name, url)


def _git(*words: str) -> None:
    done = subprocess.run(["git", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise LaptopError(f"git {words[0]}: {done.stderr.strip()}")


def _call(arguments: Sequence[str]) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        list(arguments), stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=CALL_SECONDS
    )


def _name_of(directory: Path) -> str:
    letters = "".join(c if c.isascii() and c.isalnum() else "-" for c in directory.name.lower())
    return letters.strip("-").lstrip("0123456789-")[:30].rstrip("-")


def _tell(text: str) -> None:
    print(text, file=sys.stderr)  # noqa: T201
