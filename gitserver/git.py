"""How git is called: its environment from scratch, its configuration on the command line, bounded runs."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from gitserver.child import SAFE_PATH, Child, ResourceLimits
from gitserver.ports import Limits

ENVIRONMENT = {
    "PATH": SAFE_PATH,
    "HOME": "/nonexistent",
    "LC_ALL": "C",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ATTR_NOSYSTEM": "1",
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_NO_LAZY_FETCH": "1",
    "GIT_ADVICE": "0",
}
HIDDEN_REFS = "refs/cygni"
MAX_OUTPUT = 16 << 20
_MESSAGE = 2000

_COMMON = (
    "core.fsmonitor=false",
    "core.bigFileThreshold=32m",
    "core.packedGitWindowSize=32m",  # maps count towards the memory limit
    "core.packedGitLimit=256m",
    "core.fsync=committed,loose-object,reference",
    "pack.threads=1",
    "pack.windowMemory=128m",
    "gc.auto=0",
    "maintenance.auto=false",
    "protocol.allow=never",
)
_RECEIVE = (
    "core.alternateRefsCommand=exit 0 #",
    f"transfer.hideRefs={HIDDEN_REFS}",
    "receive.advertisePushOptions=true",
    "receive.fsckObjects=true",
    # Old histories have these; Gitaly ignores the same three.
    "receive.fsck.zeroPaddedFilemode=ignore",
    "receive.fsck.badTimezone=ignore",
    "receive.fsck.missingSpaceBeforeDate=ignore",
    "receive.unpackLimit=1",
    "receive.autogc=false",
    "receive.shallowUpdate=true",
    "receive.denyDeleteCurrent=refuse",
    "receive.keepAlive=5",
)
_UPLOAD = (
    "core.hooksPath=/dev/null",
    f"transfer.hideRefs={HIDDEN_REFS}",
    "uploadpack.allowFilter=true",
    "uploadpack.allowAnySHA1InWant=true",  # as protocol 2 always does; partial clones over 0 and 1 need it
    "uploadpackfilter.allow=false",
    "uploadpackfilter.blob:none.allow=true",
    "uploadpackfilter.blob:limit.allow=true",
    "uploadpackfilter.tree.allow=true",
)
_UPLOAD_SECONDS = 3600


class GitError(Exception):
    """Raised when a git command fails, takes too long or says too much; the text is git's own."""


def receive_pack(path: Path, hooks: Path, limits: Limits) -> list[str]:
    """Return the command that serves a push to `path`."""
    config = (*_RECEIVE, f"core.hooksPath={hooks}", f"receive.maxInputSize={limits.pack_bytes}")
    return _command(path, config, "receive-pack", str(path))


def upload_pack(path: Path) -> list[str]:
    """Return the command that serves a clone or fetch of `path`."""
    return _command(path, _UPLOAD, "upload-pack", "--strict", f"--timeout={_UPLOAD_SECONDS}", str(path))


def _command(path: Path, config: Sequence[str], *arguments: str) -> list[str]:
    settings = (*_COMMON, f"safe.directory={path}", *config)
    return ["git", *(part for value in settings for part in ("-c", value)), *arguments]


def environment(protocol: str | None) -> dict[str, str]:
    """Return the whole environment of a git child; `protocol` is a checked `GIT_PROTOCOL`."""
    return ENVIRONMENT | ({"GIT_PROTOCOL": protocol} if protocol else {})


_PROTOCOL = re.compile(r"(?:version=[012])(?::[a-z0-9=.-]+)*")
_PROTOCOL_LENGTH = 64


def is_protocol(value: str) -> bool:
    """Whether a client's `GIT_PROTOCOL` may be handed on."""
    return len(value) <= _PROTOCOL_LENGTH and _PROTOCOL.fullmatch(value) is not None


def resource_limits(limits: Limits) -> ResourceLimits:
    """Return the limits of a git child that works on a client's data."""
    return ResourceLimits(
        memory=limits.ingest_memory_bytes,
        cpu=limits.ingest_cpu_seconds,
        file_size=2 * limits.pack_bytes,
    )


async def run(
    path: Path, *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None, timeout: float = 60
) -> str:
    """Run a git command on the repository at `path` and return what it prints.

    Args:
        path: the bare repository.
        arguments: the command; the caller has checked whatever comes from outside.
        stdin: what the command reads.
        env: what its environment has besides `ENVIRONMENT`.
        timeout: seconds.

    Raises:
        GitError: exit code not 0, over time, or more than `MAX_OUTPUT` bytes.
    """
    command = _command(path, ("core.hooksPath=/dev/null",), f"--git-dir={path}", *arguments)
    async with _child(command, ENVIRONMENT | dict(env or {})) as child:
        try:
            async with asyncio.timeout(timeout):
                out, err, _ = await asyncio.gather(
                    _all(child.stdout.stream), _all(child.stderr.stream), _feed(child, stdin)
                )
                code = await child.wait()
        except TimeoutError:
            raise GitError(f"git {arguments[0]} took more than {timeout:g} s") from None
    if code:
        text = err.decode(errors="replace").strip()[:_MESSAGE]
        raise GitError(f"git {arguments[0]} failed with {code}: {text}")
    return out.decode(errors="surrogateescape")


@asynccontextmanager
async def _child(command: Sequence[str], env: Mapping[str, str]) -> AsyncIterator[Child]:
    child = await Child.spawn(command, env=env, limits=ResourceLimits(cpu=600))
    try:
        yield child
    finally:
        await child.end()
        child.close()


async def _feed(child: Child, text: str) -> None:
    with suppress(BrokenPipeError):
        if text:
            await child.stdin.write(text.encode())
    child.stdin.close()


async def _all(stream: asyncio.StreamReader) -> bytes:
    data = bytearray()
    while chunk := await stream.read(1 << 16):
        data += chunk
        if len(data) > MAX_OUTPUT:
            raise GitError("git says more than is expected")
    return bytes(data)
