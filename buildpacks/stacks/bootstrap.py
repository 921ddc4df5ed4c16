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
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
"""Debian's keys where this machine's apt does not trust them by itself, as on Ubuntu."""
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
        archive = _Archive(process, announce)
        try:
            yield archive.chunks()
        except Exception:
            # Whoever sends the stream on wraps what the stream raised.
            if archive.error is not None:
                raise archive.error from None
            raise
        finally:
            await archive.close()


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
        *([] if mirrors or not KEYRING.exists() else [f"--keyring={KEYRING}"]),
        suite,
        "-",
        *mirrors,
    ]


class _Archive:
    """What mmdebstrap writes, and why it failed when it did."""

    def __init__(self, process: Process, announce: Announce) -> None:
        self.error: BootstrapError | None = None
        self._process = process
        self._announce = announce
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._messages = asyncio.create_task(self._follow_messages())

    async def chunks(self) -> AsyncIterator[bytes]:
        """The tar stream."""
        assert self._process.stdout is not None
        while chunk := await self._process.stdout.read(_CHUNK):
            yield chunk
        await self._messages
        if await self._process.wait() != 0:
            self.error = BootstrapError("mmdebstrap failed:\n" + "\n".join(self._tail))
            raise self.error

    async def close(self) -> None:
        """End mmdebstrap. SIGTERM first: it then unmounts and removes what it made."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_STOP_SECONDS):
                    await self._end(number)
        self._messages.cancel()
        await asyncio.gather(self._messages, return_exceptions=True)

    async def _end(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)
        await self._process.wait()
        assert self._process.stdout is not None
        while await self._process.stdout.read(_CHUNK):
            pass

    async def _follow_messages(self) -> None:
        assert self._process.stderr is not None
        async for raw in self._process.stderr:
            line = raw.decode(errors="replace").rstrip()
            self._tail.append(line)
            if line.startswith("I: "):
                await self._announce(f"       {line.removeprefix('I: ')}")
