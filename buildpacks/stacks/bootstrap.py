"""A Debian root file system as a tar stream, made by mmdebstrap."""

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from asyncio.subprocess import PIPE, Process
from collections import deque
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from buildpacks.ports import Announce
from buildpacks.stacks import apt

_CHUNK = 1 << 18
_STOP_SECONDS = 20.0
_TAIL_LINES = 20
# Manuals and translations are half of a small image, and nobody reads them there.
_LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*", "/usr/share/info/*")


class BootstrapError(Exception):
    """The file system could not be made; the text has the reason or mmdebstrap's last lines."""


def check_possible() -> None:
    """Whether this process can bootstrap.

    Raises:
        BootstrapError: it is not root, or mmdebstrap is missing; says what to run.
    """
    if os.geteuid() != 0:
        raise BootstrapError(
            "The base images are missing, and making them needs root: run `cygni stack:build` as root."
        )
    if shutil.which("mmdebstrap") is None:
        raise BootstrapError(
            "The base images are missing, and so is mmdebstrap: run `apt-get install mmdebstrap`, "
            "then `cygni stack:build` as root."
        )


@contextlib.asynccontextmanager
async def debian(
    suite: str, packages: Sequence[str], announce: Announce
) -> AsyncIterator[AsyncIterator[bytes]]:
    """A tar stream of the suite's essential packages, apt and `packages`. Leaving early ends mmdebstrap.

    Raises:
        BootstrapError: mmdebstrap failed. Raised by the stream, so that a half one is never taken for a whole one.
    """
    options = await asyncio.to_thread(apt.options)
    with tempfile.TemporaryDirectory(prefix="cygni-sources-") as folder:
        mirrors = await asyncio.to_thread(_write_sources, Path(folder), suite)
        process = await asyncio.create_subprocess_exec(
            *_arguments(suite, packages, options, mirrors), stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        tail: deque[str] = deque(maxlen=_TAIL_LINES)
        messages = asyncio.create_task(_follow_messages(process, tail, announce))
        try:
            yield _stream(process, messages, tail)
        finally:
            await _end(process)
            messages.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await messages


def _write_sources(folder: Path, suite: str) -> list[str]:
    for name, text in apt.debian_sources(suite).items():
        (folder / name).write_text(text)
    return sorted(str(path) for path in folder.iterdir())


def _arguments(
    suite: str, packages: Sequence[str], options: Sequence[str], mirrors: Sequence[str]
) -> list[str]:
    return [
        "mmdebstrap",
        "--mode=root",
        "--variant=apt",
        "--format=tar",
        f"--include={','.join(packages)}",
        *(f"--aptopt={option}" for option in ('APT::Install-Recommends "false"', *options)),
        *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
        suite,
        "-",
        *mirrors,
    ]


async def _follow_messages(process: Process, tail: deque[str], announce: Announce) -> None:
    assert process.stderr is not None
    async for raw in process.stderr:
        line = raw.decode(errors="replace").rstrip()
        tail.append(line)
        if line.startswith("I: "):
            await announce(f"       {line.removeprefix('I: ')}")


async def _stream(process: Process, messages: asyncio.Task[None], tail: deque[str]) -> AsyncIterator[bytes]:
    assert process.stdout is not None
    while chunk := await process.stdout.read(_CHUNK):
        yield chunk
    await messages
    if await process.wait() != 0:
        raise BootstrapError("mmdebstrap failed:\n" + "\n".join(tail))


async def _end(process: Process) -> None:
    """SIGTERM first: mmdebstrap then unmounts and removes what it made."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_STOP_SECONDS):
                assert process.stdout is not None
                while await process.stdout.read(_CHUNK):
                    pass
                await process.wait()
