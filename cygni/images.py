"""Detection and building, with the app's names, secrets and limits filled in."""

import asyncio
import hashlib
import hmac
import shlex
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from buildpacks.buildkit.client import EngineRequestError, EngineUnavailableError
from buildpacks.buildkit.images import Images as EngineImages
from buildpacks.classify import classify
from buildpacks.plan import BuildSettings, Catalog, Failure, Plan, Process
from buildpacks.planner import plan as make_plan
from buildpacks.ports import BuildFailedError, BuildLimits, BuildRequest, BuiltImage, ImageBuilder
from buildpacks.render import render
from buildpacks.stacks.stack import StackError
from buildpacks.stacks.suites import Suites
from config import Settings
from cygni import messages
from cygni.domain.errors import BuildError
from cygni.domain.models import App, BuildStatus, ProcessType
from cygni.output import Narrator
from cygni.sources import Source
from cygni.store import Store

STACK_LABEL = "cygni.stack"
SECRETS_ID = "app-env"
SECRETS_HASH = "CYGNI_SECRETS_HASH"
KEY_LENGTH = 24
LOG_BYTES = 4 << 20
"""Output of one build; more is taken for endless."""


@dataclass(frozen=True)
class BuiltRelease:
    """An image and how to run it: what a build hands to a release."""

    image: str
    size: int
    seconds: float
    reused: bool
    processes: tuple[ProcessType, ...]
    release_command: tuple[str, ...] | None

    @property
    def short_id(self) -> str:
        """Twelve digits of the image's id, as Docker shows them."""
        return self.image.removeprefix("sha256:")[:12]


class Images:
    """Plans and builds for one server; images are named by what went into them, so the same input is built once."""

    def __init__(
        self,
        settings: Settings,
        server: str,
        store: Store,
        stacks: Suites,
        builder: ImageBuilder,
        images: EngineImages,
    ) -> None:
        self._settings = settings
        self._server = server
        self._store = store
        self._stacks = stacks
        self._builder = builder
        self._images = images

    async def plan(self, source: Source) -> Plan:
        """Decide how to build the source, without starting anything.

        Raises:
            BuildError: nothing was detected, or a file of the source is wrong.
        """
        names = frozenset(source.config)
        result = await asyncio.to_thread(make_plan, source.tree, BuildSettings(), names)
        if isinstance(result, Failure):
            raise _error(result)
        return result

    def describe(self, plan: Plan) -> Iterator[str]:
        """What the pusher should know of a plan, line by line."""
        for pick in plan.picks:
            asked = f" {pick.requested!r}" if pick.requested else ""
            yield f"{pick.name} {pick.resolved} ({pick.source.place}{asked})"
        types = [process.type for process in plan.processes]
        yield f"process types: {', '.join([*types, 'release'] if plan.release else types) or 'none'}"
        for note in plan.notes:
            yield f"{'warning' if note.level == 'warning' else 'note'}: {note.text}"

    async def build(self, source: Source, plan: Plan, say: Narrator) -> BuiltRelease:
        """Build the plan, or find the image of an earlier build of the same input, and record the result.

        Raises:
            BuildError: a step failed, a limit was met, the engine went away.
        """
        began = time.monotonic()
        try:
            stack = await self._stack(plan.suite, say)
            request = self._request(source, plan, stack)
            image = await self._images.inspect(request.tag)
        except (EngineUnavailableError, EngineRequestError, StackError) as error:
            raise _engine_error(error) from error
        if image is not None:
            await say.detail("The same source was built before; its image is used again")
        built = image or await self._run(request, say)
        result = BuiltRelease(
            image=built.id,
            size=built.size,
            seconds=time.monotonic() - began,
            reused=image is not None,
            processes=tuple(_process_type(process, plan) for process in plan.processes),
            release_command=plan.release.argv if plan.release else None,
        )
        await self._record(source, plan, result)
        return result

    async def _stack(self, suite: str, say: Narrator) -> str:
        """Make sure the base images are there; return what tells their versions apart."""
        names = await self._stacks.ensure(suite, say.detail)
        labels = await self._images.labels(names.run) or {}
        return labels.get(STACK_LABEL, "")

    async def _run(self, request: BuildRequest, say: Narrator) -> BuiltImage:
        try:
            return await self._builder.build(request, say.raw)
        except BuildFailedError as error:
            if error.cause == "engine":
                raise _engine_error(error) from None
            raise _explain(error) from None

    def _request(self, source: Source, plan: Plan, stack: str) -> BuildRequest:
        app = source.app
        catalog = Catalog(cache_prefix=app.token, secrets=bool(source.config))
        dockerfile = render(plan, catalog)
        secrets_hash = self._keyed_hash(app, source.config)
        return BuildRequest(
            dockerfile=dockerfile,
            tree=source.tree,
            tag=self._tag(app, source.tree_id, dockerfile, f"{secrets_hash} {stack}"),
            labels={"cygni.app": app.name, "cygni.app-id": app.id, "cygni.server": self._server},
            build_args={SECRETS_HASH: secrets_hash} if source.config else {},
            secrets={SECRETS_ID: shell_assignments(source.config)} if source.config else {},
            redact=tuple(source.config.values()),
            limits=BuildLimits(
                seconds=self._settings.build_timeout, memory_bytes=self._settings.build_memory
            ),
            extra_files=plan.context_files,
            # An app's .dockerignore is about its own Dockerfile; a generated one has the plan's patterns.
            ignore_file=".dockerignore" if plan.dockerfile is not None else None,
            ignored=plan.ignored,
        )

    def _keyed_hash(self, app: App, config: Mapping[str, str]) -> str:
        """Changes when a value changes, and tells nothing about the values."""
        text = "\0".join(f"{name}={value}" for name, value in sorted(config.items()))
        return hmac.new(app.token.encode(), text.encode(), hashlib.sha256).hexdigest()[:KEY_LENGTH]

    def _tag(self, app: App, tree_id: str, dockerfile: str, rest: str) -> str:
        inputs = f"{tree_id}\0{dockerfile}\0{rest}"
        key = hmac.new(app.token.encode(), inputs.encode(), hashlib.sha256).hexdigest()[:KEY_LENGTH]
        return f"cygni-{self._server}/{app.name}-{app.token}:{key}"

    async def _record(self, source: Source, plan: Plan, result: BuiltRelease) -> None:
        await self._store.builds.finish(
            source.build.id,
            BuildStatus.SUCCEEDED,
            image=result.image,
            provider=plan.provider,
            processes=result.processes,
            release_command=result.release_command,
        )

    async def exists(self, image: str) -> bool:
        """Whether an image is still on the engine."""
        return await self._images.exists(image)

    async def remove_app(self, app_id: str) -> None:
        """Remove every image of an app of this server.

        Raises:
            BuildError: the engine does not answer, or does not let go of one.
        """
        try:
            for _, name in await self._names(app_id):
                await self._images.remove(name, force=True)
        except (EngineUnavailableError, EngineRequestError) as error:
            raise _engine_error(error) from error

    async def collect(self, app: App, keep: set[str]) -> None:
        """Remove the app's images that no release within the rollback window refers to.

        Raises:
            BuildError: the engine does not answer.
        """
        try:
            for image, name in await self._names(app.id):
                if image not in keep:
                    with suppress(EngineRequestError):  # a container of it is still being stopped: next time
                        await self._images.remove(name)
        except EngineUnavailableError as error:
            raise _engine_error(error) from error

    async def _names(self, app_id: str) -> list[tuple[str, str]]:
        """The app's images as `(id, name)`, by the names that this server gave.

        Labels alone do not make an image ours: whoever builds on one of ours inherits them.
        """
        labels = {"cygni.app-id": app_id, "cygni.server": self._server}
        found = await self._images.list(labels)
        prefix = f"cygni-{self._server}/"
        return [(image.id, name) for image in found for name in image.tags if name.startswith(prefix)]


def shell_assignments(config: Mapping[str, str]) -> str:
    """Config as lines that a POSIX shell reads: `export NAME='value'`."""
    return "".join(f"export {name}={shlex.quote(value)}\n" for name, value in sorted(config.items()))


def _process_type(process: Process, plan: Plan) -> ProcessType:
    return ProcessType(process.type, process.argv, plan.port.exposed if process.type == "web" else None)


def _explain(error: BuildFailedError) -> BuildError:
    failure = classify(error.step, error.exit_code, error.tail)
    text = "\n".join([str(error), *(failure.lines if failure else ())])
    failure_id = failure.id if failure else f"build/{error.cause}"
    return BuildError(text, failure_id=failure_id, headline=str(error).partition("\n")[0])


def _error(failure: Failure) -> BuildError:
    return BuildError("\n".join(failure.lines), failure_id=failure.id, headline=failure.title)


def _engine_error(error: Exception) -> BuildError:
    return BuildError(
        messages.engine_down(str(error)),
        failure_id="build/engine",
        headline="the container engine does not answer",
    )
