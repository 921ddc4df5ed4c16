"""What detection and building need from their owner."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

Announce = Callable[[str], Awaitable[None]]
"""Tells the person who pushed one line, without a newline."""


@dataclass(frozen=True)
class Entry:
    """A file of a tree. `mode` is git's: 0o100644, 0o100755, 0o120000 (link) or 0o160000 (submodule)."""

    path: str
    mode: int
    size: int


class Tree(Protocol):
    """A source tree, read without a checkout. Paths are relative, with `/`, and never followed out."""

    def entries(self) -> Iterator[Entry]:
        """Every file, sorted by path.

        Raises:
            TreeLimitError: more files, bytes, depth or longer paths than allowed.
        """
        ...

    def files(self, pattern: str = "*") -> list[str]:
        """Sorted paths of regular files that match a glob; `*` does not cross `/`, `**` does."""
        ...

    def read(self, path: str, limit: int = 1 << 20) -> bytes | None:
        """Content of a regular file, None when there is none; links are not followed.

        Raises:
            TreeLimitError: the file is larger than `limit`.
        """
        ...

    def chunks(self, path: str) -> Iterator[bytes]:
        """Content of a file or the target of a link, piece by piece."""
        ...

    def is_executable(self, path: str) -> bool:
        """Whether the file has the executable bit."""
        ...


@dataclass(frozen=True)
class TreeLimits:
    """What a source tree may hold."""

    files: int = 100_000
    total_bytes: int = 1 << 30
    depth: int = 64
    path_bytes: int = 4096


class TreeLimitError(Exception):
    """A tree or file is over a limit; the text names the limit and the path."""


@dataclass(frozen=True)
class BuildLimits:
    """What a build may use. Seconds and bytes."""

    seconds: float = 900
    memory_bytes: int = 2 << 30
    cpu_shares: int = 512
    log_bytes: int = 16 << 20
    """Of all steps together."""
    flood_seconds: float = 120
    """What is left to a step that began with more output than the engine shows, and shows nothing any more."""


@dataclass(frozen=True)
class BuildRequest:
    """One image build: a Dockerfile over a tree. Secrets are values, so they are never shown."""

    dockerfile: str
    tree: Tree
    tag: str
    labels: Mapping[str, str] = field(default_factory=dict)
    build_args: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict, repr=False)
    target: str | None = None
    limits: BuildLimits = field(default_factory=BuildLimits)
    extra_files: Mapping[str, bytes] = field(default_factory=dict)
    """Files of ours put into the context beside the tree's, under names that cannot clash."""
    ignore_file: str | None = ".dockerignore"
    """The tree's file that says what stays out of the context; None for nothing."""
    redact: tuple[str, ...] = field(default=(), repr=False)
    """Values that must not appear in the output."""
    ignored: tuple[str, ...] = ()
    """Patterns of the tree that stay out of the context."""
    fresh: bool = False
    """Run every step again instead of using what earlier builds left."""


@dataclass(frozen=True)
class BuiltImage:
    """The result: the engine's image id (`sha256:…`), and what its configuration says."""

    id: str
    command: tuple[str, ...]
    exposed_ports: tuple[int, ...]
    size: int


class BuildFailedError(Exception):
    """A build ended without an image.

    `cause`: `exit` (a step returned `exit_code`), `timeout`, `memory`, `cancelled`, `log` (endless output),
    `context` (the tree is over a limit), `syntax` (the Dockerfile), `disk` (the engine's is full), `engine` (it went
    away).
    `tail` is the end of the failing step's output, redacted.
    """

    def __init__(
        self,
        cause: str,
        message: str,
        *,
        step: str = "",
        exit_code: int | None = None,
        tail: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.cause = cause
        self.step = step
        self.exit_code = exit_code
        self.tail = tail


class ImageBuilder(Protocol):
    """Builds images."""

    async def build(self, request: BuildRequest, output: Announce) -> BuiltImage:
        """Build and stream output line by line as it appears; cancelling the call stops the build.

        Raises:
            BuildFailedError: with the cause.
        """
        ...


@dataclass(frozen=True)
class Image:
    """An image on the engine. `created` is in seconds since the epoch."""

    id: str
    tags: tuple[str, ...]
    labels: Mapping[str, str]
    size: int
    created: int


class ImageStore(Protocol):
    """The images that an engine has; `name` is an id or a tag. Adapters raise their own errors."""

    async def inspect(self, name: str) -> BuiltImage | None:
        """What an image's configuration says, None when it does not exist."""
        ...

    async def labels(self, name: str) -> Mapping[str, str] | None:
        """An image's labels, None when it does not exist."""
        ...

    async def exists(self, name: str) -> bool:
        """Whether the engine has the image."""
        ...

    async def remove(self, name: str, *, force: bool = False) -> bool:
        """Remove a name, and the image with its last one; False when there was none.

        `force` removes an image by its id although it has several names.
        """
        ...

    async def list(self, labels: Mapping[str, str]) -> Sequence[Image]:
        """Images that have all of these labels; an empty value means any."""
        ...

    async def folder(self) -> Path:
        """Where the images are kept, on the engine's machine."""
        ...


@dataclass(frozen=True)
class StackImages:
    """Names for `FROM`: what builds run on, what apps run on."""

    build: str
    run: str


class BaseImages(Protocol):
    """Has the images that generated builds start from."""

    async def ensure(self, suite: str, announce: Announce) -> StackImages:
        """The images of a Debian suite, once they are there and current."""
        ...
