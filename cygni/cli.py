"""The `cygni` program: starts servers, and runs commands here or on the server that the git remote names."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from config.client import Client
    from cygni.remote import Transport
    from cygni.view import View

Program = Callable[[Sequence[str]], int]


def main() -> int:
    """Entry point; returns the exit code."""
    words = sys.argv[1:] or ["help"]
    program = PROGRAMS.get(words[0])
    try:
        return program(words[1:]) if program else _command(words)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _fail(text: str, code: int = 1) -> int:
    for line in text.split("\n"):
        print(f" !     {line}", file=sys.stderr)  # noqa: T201 - this is a command line program
    return code


def _serve(words: Sequence[str]) -> int:
    """`cygni serve`: the control plane with its router child, in the foreground."""
    from config import SettingsError, load
    from config.logging import configure
    from cygni.app import serve
    from cygni.domain.errors import CygniError
    from cygni.start import StartError

    if words:
        return _fail("Usage: cygni serve", 2)
    try:
        settings = load()
        configure(settings.log_level, settings.log_format)
        asyncio.run(serve(settings))
    except (SettingsError, StartError, CygniError) as error:
        return _fail(str(error))
    return 0


def _router(words: Sequence[str]) -> int:
    """`cygni router`: the data plane alone."""
    from config import SettingsError, load
    from config.logging import configure
    from cygni.routing import router_options
    from router.main import run

    if words:
        return _fail("Usage: cygni router", 2)
    try:
        settings = load()
    except SettingsError as error:
        return _fail(str(error))
    configure(settings.log_level, settings.log_format)
    run(router_options(settings))
    return 0


def _stack_build(words: Sequence[str]) -> int:
    """`cygni stack:build`: make the base images now instead of during the first push."""
    from cygni.stack import build

    return asyncio.run(build(words))


def _build_explain(words: Sequence[str]) -> int:
    """`cygni build:explain PATH [--json]`: what a push of this directory would do; needs no server."""
    from cygni.explain import explain

    arguments = [word for word in words if word != "--json"]
    if len(arguments) > 1:
        return _fail("Usage: cygni build:explain [PATH] [--json]", 2)
    text, failed = explain(Path(arguments[0] if arguments else "."), as_json="--json" in words)
    print(text)  # noqa: T201
    return 1 if failed else 0


def _docs(write: bool) -> Program:
    def run(words: Sequence[str]) -> int:
        from cygni.docs import check_or_write

        del words
        stale = check_or_write(Path.cwd(), write=write)
        return _fail("Stale: " + ", ".join(stale) + ". Run `cygni docs:write`.") if stale and not write else 0

    return run


def _stateful(module: str, name: str) -> Program:
    """A program on the state directory, which needs no server."""

    def run(words: Sequence[str]) -> int:
        from config import SettingsError, load
        from config.logging import configure
        from cygni.domain.errors import CygniError

        configure("error", "console")
        try:
            code: int = asyncio.run(getattr(import_module(module), name)(load(), words))
        except (SettingsError, CygniError) as error:
            return _fail(str(error))
        return code

    return run


def _completion(words: Sequence[str]) -> int:
    """`cygni completion SHELL`: needs no server."""
    from cygni.commands import registry
    from cygni.commands.completion import SHELLS, script

    if len(words) != 1 or words[0] not in SHELLS:
        return _fail(f"Usage: cygni completion {'|'.join(SHELLS)}", 2)
    print(script(registry, words[0]), end="")  # noqa: T201
    return 0


def _command(words: Sequence[str]) -> int:
    from config.client import client
    from cygni.remote import OverSsh, RemoteError, find_server, take_remote_flag, terminal_view

    here = client()
    words, name = take_remote_flag(words)
    words = words or ["help"]
    server, problem = None, ""
    if here.data is None:
        try:
            server = find_server(here.remote, name)
        except RemoteError as error:
            problem = str(error)
    view = terminal_view(here.app or (server.app if server else None), colour=here.colour)
    if words[0] in LAPTOP and not {"-h", "--help"} & set(words):
        return _laptop(words, here, OverSsh(server) if server else None, view.app, problem)
    if here.data is not None:
        return _here(here.data, words, view)
    if server is None:
        return _fail(problem)
    arguments = OverSsh(server).arguments(words, view)
    return os.execvp(arguments[0], arguments)  # noqa: S606 - argument list, no shell on this side


def _laptop(
    words: Sequence[str], here: "Client", transport: "Transport | None", app: str | None, problem: str
) -> int:
    from cygni.laptop import Laptop, LaptopError
    from cygni.remote import OnThisMachine

    def reach() -> "Transport":
        if transport is None and here.data is None:
            raise LaptopError(problem)
        return transport or OnThisMachine()

    try:
        work: Program = getattr(Laptop(reach, app, here.remote, here.editor), LAPTOP[words[0]])
        return work(words[1:])
    except LaptopError as error:
        return _fail(str(error), error.code)


def _here(data: Path, words: Sequence[str], view: "View") -> int:
    from config import SettingsError, load
    from config.logging import configure
    from cygni.domain.errors import CygniError
    from cygni.local import run_local
    from cygni.start import StartError

    configure("error", "console")
    try:
        return asyncio.run(run_local(load({"data": data}), words, view))
    except (SettingsError, StartError, CygniError) as error:
        return _fail(str(error))


LAPTOP = {
    "init": "init",
    "git:remote": "git_remote",
    "open": "open",
    "apps:open": "open",
    "config:edit": "edit",
}
"""Commands that work on this machine's files and programs, and the method that does it."""

PROGRAMS: dict[str, Program] = {
    "serve": _serve,
    "router": _router,
    "stack:build": _stack_build,
    "build:explain": _build_explain,
    "completion": _completion,
    "backup": _stateful("cygni.backup.programs", "make"),
    "backup:verify": _stateful("cygni.backup.programs", "check"),
    "restore": _stateful("cygni.backup.programs", "bring_back"),
    "db:move": _stateful("cygni.moving", "run"),
    "docs:write": _docs(write=True),
    "docs:check": _docs(write=False),
}

if __name__ == "__main__":
    sys.exit(main())
