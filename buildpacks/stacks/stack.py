"""Makes sure that the base images are on the engine, and makes them where they are not."""

import asyncio
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from buildpacks.buildkit.client import DEFAULT_SOCKET, EngineRequestError
from buildpacks.buildkit.engine import BuildKitBuilder
from buildpacks.buildkit.progress import INDENT
from buildpacks.ports import Announce, BuildFailedError, BuildRequest, Entry, StackImages
from buildpacks.stacks import bootstrap, lock
from buildpacks.stacks.recipe import LABEL, Recipe

HOST_CERTIFICATES = Path("/usr/local/share/ca-certificates")
_WAIT_SECONDS = 1800.0
_BOOTSTRAP_SECONDS = 1200.0


class StackError(Exception):
    """The base images are not there and could not be made; the text says what to do."""


class Stacks:
    """The stack of one Debian suite on one engine.

    `extra_ca` are files or folders of PEM certificates that builds and apps trust in addition. `lock_file` keeps
    several servers of one machine from making the images at the same time. `registry_image` is used as the base
    where a registry is reachable, instead of a bootstrap. `repository` is where the images are named.
    """

    def __init__(
        self,
        socket: Path | str = DEFAULT_SOCKET,
        extra_ca: tuple[Path, ...] | None = None,
        *,
        lock_file: Path,
        suite: str = "bookworm",
        registry_image: str | None = None,
        repository: str | None = None,
    ) -> None:
        self._builder = BuildKitBuilder(socket, slots=1)
        self._extra_ca = (HOST_CERTIFICATES,) if extra_ca is None else extra_ca
        self._lock_file = lock_file
        self._suite = suite
        self._registry_image = registry_image
        self._repository = repository or f"cygni-stack/debian-{suite}"
        self._one = asyncio.Lock()

    @property
    def images(self) -> StackImages:
        """Their names, whether they exist or not."""
        return StackImages(build=f"{self._repository}:build", run=f"{self._repository}:run")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection to the engine."""
        await self._builder.close()

    async def ensure(self, announce: Announce) -> StackImages:
        """The images' names, once they are there and current. Calls at the same time wait for one another.

        Raises:
            StackError: they are missing and cannot be made here.
            EngineUnavailableError: no engine answers.
        """
        recipe = await asyncio.to_thread(self._recipe)
        if not await self._current(recipe):
            async with self._one, self._locked(announce):
                if not await self._current(recipe):
                    await self._make(recipe, announce, again=False)
        return self.images

    async def rebuild(self, announce: Announce) -> StackImages:
        """Make the images again from the newest packages, although they are there.

        Raises:
            StackError: they cannot be made here.
            EngineUnavailableError: no engine answers.
        """
        recipe = await asyncio.to_thread(self._recipe)
        async with self._one, self._locked(announce):
            await self._make(recipe, announce, again=True)
        return self.images

    def _locked(self, announce: Announce) -> AbstractAsyncContextManager[None]:
        waiting = f"{INDENT}Another process makes the base images: waiting for it"
        return lock.exclusive(self._lock_file, _WAIT_SECONDS, announce, waiting)

    def _recipe(self) -> Recipe:
        certificates = {file.name: file.read_bytes() for file in _certificate_files(self._extra_ca)}
        return Recipe(suite=self._suite, certificates=certificates, registry_image=self._registry_image)

    async def _current(self, recipe: Recipe) -> bool:
        wanted = {self.images.build: recipe.build_hash, self.images.run: recipe.run_hash}
        return all([await self._has(name, value) for name, value in wanted.items()])

    async def _has(self, name: str, value: str) -> bool:
        labels = await self._builder.images.labels(name)
        return labels is not None and labels.get(LABEL) == value

    async def _make(self, recipe: Recipe, announce: Announce, *, again: bool) -> None:
        await announce(
            f"-----> Making the base images (Debian {self._suite}); this happens once and takes minutes"
        )
        try:
            base = await self._base(recipe, announce, again=again)
            await self._layer(recipe.run_dockerfile(base), self.images.run, recipe.run_hash, announce, recipe)
            await self._layer(
                recipe.build_dockerfile(self.images.run),
                self.images.build,
                recipe.build_hash,
                announce,
                recipe,
            )
        except (BuildFailedError, bootstrap.BootstrapError, EngineRequestError, TimeoutError) as error:
            tail = "\n".join(getattr(error, "tail", ()))
            raise StackError(f"The base images could not be made: {error}\n{tail}".strip()) from error

    async def _base(self, recipe: Recipe, announce: Announce, *, again: bool) -> str:
        if recipe.registry_image:
            await announce(f"{INDENT}Pulling {recipe.registry_image}")
            await self._builder.images.pull(recipe.registry_image)
            return recipe.registry_image
        name = f"{self._repository}:base"
        if again or not await self._has(name, recipe.base_hash):
            bootstrap.check_possible()
            async with (
                asyncio.timeout(_BOOTSTRAP_SECONDS),
                bootstrap.debian(recipe.suite, recipe.run_packages, announce) as archive,
            ):
                changes = (f"LABEL {LABEL}={recipe.base_hash}", 'CMD ["/bin/sh"]')
                await self._builder.images.import_archive(name, archive, changes)
        return name

    async def _layer(self, dockerfile: str, tag: str, value: str, announce: Announce, recipe: Recipe) -> None:
        async def steps_only(line: str) -> None:
            # Hundreds of lines of apt would hide the pusher's own build; a failure shows their end.
            if line.startswith(f"{INDENT}["):
                await announce(line)

        request = BuildRequest(
            dockerfile, _NoTree(), tag, labels={LABEL: value}, extra_files=recipe.certificate_files()
        )
        before = await self._builder.images.inspect(tag)
        built = await self._builder.build(request, steps_only)
        if before is not None and before.id != built.id:
            # Containers may still run on it; then the engine keeps it.
            with suppress(EngineRequestError):
                await self._builder.images.remove(before.id)


class _NoTree:
    """A tree without files."""

    def entries(self) -> Iterator[Entry]:
        return iter(())

    def files(self, pattern: str = "*") -> list[str]:  # noqa: ARG002 - the port's signature
        return []

    def read(self, path: str, limit: int = 1 << 20) -> bytes | None:  # noqa: ARG002 - the port's signature
        return None

    def chunks(self, path: str) -> Iterator[bytes]:
        raise FileNotFoundError(path)

    def is_executable(self, path: str) -> bool:  # noqa: ARG002 - the port's signature
        return False


def _certificate_files(paths: tuple[Path, ...]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(path.glob("*.crt"))
        elif path.is_file():
            yield path
