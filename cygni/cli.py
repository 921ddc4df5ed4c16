"""The `cygni` program: starts servers, and runs commands here or on the server that the git remote names."""

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

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
    from cygni.app import StartError, serve

    if words:
        return _fail("Usage: cygni serve", 2)
    try:
        settings = load()
        configure(settings.log_level, settings.log_format)
        asyncio.run(serve(settings))
    except (SettingsError, StartError) as error:
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


def _command(words: Sequence[str]) -> int:
    from config.client import client

    here = client()
    if here.data is None:
        from cygni.remote import run_remote

        return run_remote(here, words, _fail)
    from config import SettingsError, load
    from config.logging import configure
    from cygni.local import run_local

    configure("error", "console")
    try:
        return asyncio.run(run_local(load({"data": here.data}), words))
    except SettingsError as error:
        return _fail(str(error))


PROGRAMS: dict[str, Program] = {
    "serve": _serve,
    "router": _router,
    "stack:build": _stack_build,
    "build:explain": _build_explain,
    "docs:write": _docs(write=True),
    "docs:check": _docs(write=False),
}

if __name__ == "__main__":
    sys.exit(main())
