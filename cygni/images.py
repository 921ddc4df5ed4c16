"""Detection and building, with the app's names, secrets and limits filled in."""

import asyncio
import hashlib
import hmac
import shlex
import shutil
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from buildpacks.buildkit.client import EngineRequestError, EngineUnavailableError
from buildpacks.plan import BuildSettings, Catalog, Failure, Plan, Process
from buildpacks.planner import plan as make_plan
from buildpacks.ports import (
    BaseImages,
    BuildFailedError,
    BuildLimits,
    BuildRequest,
    BuiltImage,
    ImageBuilder,
    ImageStore,
)
from buildpacks.render import render
from buildpacks.stacks.stack import StackError
from buildpacks.subtree import SubTree
from config import Settings
from cygni import build_errors, messages
from cygni.domain.models import App, BuildStatus, ProcessType
from cygni.output import Narrator
from cygni.sources import Source
from cygni.store import Store

STACK_LABEL = "cygni.stack"
SECRETS_ID = "app-env"
SECRETS_HASH = "CYGNI_SECRETS_HASH"
KEY_LENGTH = 24
RETRY_SECONDS = (2.0, 8.0)
"""Pauses before a build is tried again that a registry's absence has stopped."""


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
        stacks: BaseImages,
        builder: ImageBuilder,
        images: ImageStore,
    ) -> None:
        self._settings = settings
        self._server = server
        self._store = store
        self._stacks = stacks
        self._builder = builder
        self._images = images
        self._users: Counter[str] = Counter()
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def plan(self, source: Source) -> Plan:
        """Decide how to build the source, without starting anything.

        Raises:
            BuildError: nothing was detected, or a file of the source is wrong.
        """
        names = frozenset(source.config)
        result = await asyncio.to_thread(make_plan, source.tree, BuildSettings(), names)
        if isinstance(result, Failure):
            raise build_errors.refused(result)
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

    async def build(self, source: Source, plan: Plan, say: Narrator, *, fresh: bool = False) -> BuiltRelease:
        """Build the plan, or find the image of an earlier build of the same input, and record the result.

        With `fresh`, every step runs again.

        Raises:
            BuildError: the disk is almost full, a step failed, a limit was met, the engine went away.
        """
        async with self.in_use(source.app.id):
            return await self._build(source, plan, say, fresh=fresh)

    @asynccontextmanager
    async def in_use(self, app_id: str) -> AsyncIterator[None]:
        """None of the app's images is collected meanwhile: what was found stays until a release or build names it."""
        async with self._turns[app_id]:
            self._users[app_id] += 1
        try:
            yield
        finally:
            self._users[app_id] -= 1

    async def _build(self, source: Source, plan: Plan, say: Narrator, *, fresh: bool) -> BuiltRelease:
        began = time.monotonic()
        try:
            await self._check_disk()
            stack = await self._stack(plan.suite, say)
            request = self._request(source, plan, stack)
            request = replace(request, fresh=fresh)
            image = None if fresh else await self._images.inspect(request.tag)
        except StackError as error:
            raise build_errors.no_stack(error) from error
        except (EngineUnavailableError, EngineRequestError) as error:
            raise build_errors.engine_down(error) from error
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

    async def _check_disk(self) -> None:
        """The push may have taken what was free; an image takes more, where the engine keeps its own."""
        for folder in (self._settings.data, await self._images.folder()):
            free = await asyncio.to_thread(_free_bytes, folder)
            if free is not None and free < self._settings.disk_reserve:
                raise build_errors.disk_full(free, self._settings.disk_reserve)

    async def _stack(self, suite: str, say: Narrator) -> str:
        """Make sure the base images are there; return what tells their versions apart."""
        names = await self._stacks.ensure(suite, say.detail)
        labels = await self._images.labels(names.run) or {}
        return labels.get(STACK_LABEL, "")

    async def _run(self, request: BuildRequest, say: Narrator) -> BuiltImage:
        """Build; what a registry that does not answer has stopped is tried again, with growing pauses."""
        for pause in (*RETRY_SECONDS, None):
            try:
                return await self._builder.build(request, say.raw)
            except BuildFailedError as error:
                if pause is None or not build_errors.may_pass(error):
                    raise build_errors.failed(error) from None
            await say.detail(messages.build_again(pause))
            await asyncio.sleep(pause)
        raise AssertionError("the last attempt returns or raises")

    def _request(self, source: Source, plan: Plan, stack: str) -> BuildRequest:
        app = source.app
        secrets_hash = self._keyed_hash(app, source.config)
        own_secret = f"{SECRETS_ID}-{secrets_hash}"
        secret = SECRETS_ID if plan.dockerfile is None else own_secret
        catalog = Catalog(cache_prefix=app.token, secrets=bool(source.config), own_secret_id=own_secret)
        dockerfile = render(plan, catalog)
        return BuildRequest(
            dockerfile=dockerfile,
            tree=SubTree(source.tree, plan.root) if plan.root else source.tree,
            tag=self._tag(
                app, source.tree_id, dockerfile, f"{secrets_hash} {stack} {plan.root}{_arguments(plan)}"
            ),
            labels={"cygni.app": app.name, "cygni.app-id": app.id, "cygni.server": self._server},
            build_args={**plan.build_args, **({SECRETS_HASH: secrets_hash} if source.config else {})},
            target=plan.target,
            secrets={secret: shell_assignments(source.config)} if source.config else {},
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
            raise build_errors.engine_down(error, "try again") from error

    async def collect(self, app: App, kept: Callable[[], Awaitable[set[str]]]) -> None:
        """Remove the app's images but those that must be kept; none while some are in use, that is for another time.

        Raises:
            BuildError: the engine does not answer.
        """
        async with self._turns[app.id]:
            if self._users[app.id]:
                return
            keep = await kept()
            try:
                for image, name in await self._names(app.id):
                    if image not in keep:
                        with suppress(
                            EngineRequestError
                        ):  # a container of it is still being stopped: next time
                            await self._images.remove(name)
            except EngineUnavailableError as error:
                raise build_errors.engine_down(error, "try again") from error

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


def _free_bytes(folder: Path) -> int | None:
    """None where this machine has no such folder, or this user may not ask: the engine may run elsewhere."""
    try:
        return shutil.disk_usage(folder).free
    except OSError:
        return None


def _arguments(plan: Plan) -> str:
    """What the settings give to an own Dockerfile, as part of an image's name."""
    if plan.target is None and not plan.build_args:
        return ""
    return f" {plan.target} {sorted(plan.build_args.items())}"


def _process_type(process: Process, plan: Plan) -> ProcessType:
    return ProcessType(process.type, process.argv, plan.port.exposed if process.type == "web" else None)
