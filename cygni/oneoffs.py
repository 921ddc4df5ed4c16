"""One-off processes of apps: started beside the formation, joined or left alone, listed, stopped, never forgotten."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from buildpacks.buildkit.redact import Redactor
from cygni import messages, oneoff_messages
from cygni.collecting import LogCollection
from cygni.domain.errors import ConflictError, NotFoundError
from cygni.domain.models import App, Release
from cygni.engine_errors import explained
from cygni.manifests import Manifests
from cygni.store import Store
from deployer.manifest import Manifest, Resources
from deployer.ports import Attachment, Engine, EngineError, Instance, OneOff, Outcome, Report, Terminal

TIME_TO_LIVE = timedelta(hours=24)
LOOK_EVERY = 60.0
MOST = 50
STOP_SECONDS = 10.0
_SHOWN_COMMAND = 200

log = structlog.get_logger()


@dataclass(frozen=True)
class Wish:
    """What a person wants to run. `env` is added to the release's config."""

    command: tuple[str, ...]
    who: str
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    resources: Resources = field(default_factory=Resources)
    terminal: Terminal | None = None


@dataclass(frozen=True)
class Joined:
    """A process that someone is joined to, and its name."""

    name: str
    attachment: Attachment


class OneOffs:
    """Starts one-offs, and looks after those that nobody is joined to until they have ended and are cleared away."""

    def __init__(
        self, store: Store, manifests: Manifests, engine: Engine, collection: LogCollection, report: Report
    ) -> None:
        self._store = store
        self._manifests = manifests
        self._engine = engine
        self._collection = collection
        self._report = report
        self._numbering: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._numbers: defaultdict[str, set[int]] = defaultdict(set)
        self._watched: dict[str, asyncio.Task[None]] = {}

    # Starting.

    @asynccontextmanager
    async def attached(self, app: App, wish: Wish) -> AsyncIterator[Joined]:
        """Run a process joined to the caller; it ends with the body at the latest, whatever happens.

        Raises:
            UserError: no release, too many one-offs, or the engine refuses.
        """
        manifest = await self._manifest(app, wish)
        async with self._number(app) as number:
            instance, attachment = await self._start(manifest, wish, number)
            watch = _Watch(attachment)
            try:
                await self._started(app, instance, wish, manifest)
                yield Joined(instance.name, watch)
            finally:
                await asyncio.shield(self._end(app, instance, watch))

    async def detached(self, app: App, wish: Wish) -> Instance:
        """Start a process that goes on by itself; its output is in the app's log.

        Raises:
            UserError: no release, too many one-offs, or the engine refuses.
        """
        manifest = await self._manifest(app, wish)
        async with self._number(app) as number:
            with explained():
                instance = await self._engine.run_detached(manifest, _one_off(number, wish))
            await self._started(app, instance, wish, manifest)
            self._watch(instance)
        return instance

    @asynccontextmanager
    async def inside(self, app: App, name: str | None, wish: Wish) -> AsyncIterator[Joined]:
        """Run a process inside a running instance, joined to the caller; ends with the body at the latest.

        Raises:
            UserError: no such instance runs, or the engine refuses.
        """
        instance = await self._running(app, name)
        with explained():
            attachment = await self._engine.execute(instance, wish.command, wish.terminal, wish.env)
        try:
            text = await self.without_secrets(app, _shown(wish.command))
            await self._report(app.id, f"{wish.who} runs `{text}` in {instance.name} (v{instance.release})")
            yield Joined(instance.name, attachment)
        finally:
            await asyncio.shield(_ended(attachment))

    async def _start(self, manifest: Manifest, wish: Wish, number: int) -> tuple[Instance, Attachment]:
        with explained():
            return await self._engine.run_attached(manifest, _one_off(number, wish))

    async def _manifest(self, app: App, wish: Wish) -> Manifest:
        if app.destroying:
            raise ConflictError(messages.being_destroyed(app.name))
        release: Release | None = await self._store.releases.live(app.id)
        if release is None:
            raise NotFoundError(messages.no_release(app))
        manifest = await self._manifests.of(app, release)
        return replace(manifest, env={**manifest.env, **wish.env})

    @asynccontextmanager
    async def _number(self, app: App) -> AsyncIterator[int]:
        """Reserve the lowest number that no one-off of the app has.

        It is given back under the same lock as the list is read, so that no list from before counts.
        """
        numbers, lock = self._numbers[app.id], self._numbering[app.id]
        async with lock:
            with explained():
                found = {instance.number for instance in await self._engine.one_offs(app.id)}
            taken = found | numbers
            if len(taken) >= MOST:
                raise ConflictError(oneoff_messages.too_many_one_offs(app.name, MOST))
            number = next(candidate for candidate in range(1, MOST + 2) if candidate not in taken)
            numbers.add(number)
        try:
            yield number
        finally:
            async with lock:
                numbers.discard(number)

    async def _started(self, app: App, instance: Instance, wish: Wish, manifest: Manifest) -> None:
        text = Redactor(manifest.env.values()).text(_shown(wish.command))
        await self._report(app.id, f"Starting process {instance.name} with command `{text}` by {wish.who}")

    async def _end(self, app: App, instance: Instance, watch: "_Watch") -> None:
        await _ended(watch)
        text = oneoff_messages.one_off_ended(instance.name, watch.outcome)
        await self._report(app.id, text)

    async def without_secrets(self, app: App, text: str) -> str:
        """The text without the values of the app's config, for logs and the audit trail."""
        return Redactor((await self._store.config.get(app.id)).values()).text(text)

    # What runs.

    async def list(self, app: App) -> Sequence[Instance]:
        """Return the app's one-offs in order of their numbers."""
        with explained():
            return sorted(await self._engine.one_offs(app.id), key=lambda instance: instance.number)

    async def stop(self, app: App, name: str) -> None:
        """Stop a one-off; whoever is joined to it sees it end.

        Raises:
            NotFoundError: there is none of that name.
        """
        found = await self.list(app)
        instance = next((item for item in found if item.name == name), None)
        if instance is None:
            raise NotFoundError(
                oneoff_messages.no_such_one_off(app.name, name, [item.name for item in found])
            )
        with explained():
            await self._engine.stop(instance, STOP_SECONDS)

    async def _running(self, app: App, name: str | None) -> Instance:
        """The instance of that name, else the first web instance, else the first of all."""
        with explained():
            found = [*await self._engine.list(app.id), *await self._engine.one_offs(app.id)]
        live = await self._store.releases.live(app.id)
        newest = live.version if live else 0
        running = [item for item in found if item.state == "running"]
        running.sort(
            key=lambda item: (item.process != "web", item.release != newest, item.process, item.number)
        )
        chosen = next((item for item in running if name in {None, item.name}), None)
        if chosen is None:
            names = sorted({item.name for item in running})
            raise NotFoundError(oneoff_messages.no_such_instance(app.name, name, names))
        return chosen

    # Looking after those that nobody is joined to.

    async def run(self) -> None:
        """Clear away what has ended, stop what has run for a day; until cancelled."""
        try:
            while True:
                try:
                    await self.look()
                except EngineError as error:
                    log.warning("one-offs", reason=str(error))
                except Exception:
                    log.exception("one-offs")
                await asyncio.sleep(LOOK_EVERY)
        finally:
            tasks = list(self._watched.values())
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def look(self) -> None:
        """Look once: also at what an earlier server has started."""
        for instance in await self._engine.one_offs():
            if instance.one_off == "detached":
                self._watch(instance)
            if instance.started_at is not None and datetime.now(UTC) - instance.started_at > TIME_TO_LIVE:
                await self._report(instance.app_id, oneoff_messages.one_off_too_old(instance.name))
                await self._engine.stop(instance, STOP_SECONDS)

    def _watch(self, instance: Instance) -> None:
        if instance.id not in self._watched:
            task = asyncio.create_task(self._clear_away(instance))
            self._watched[instance.id] = task
            task.add_done_callback(lambda _: self._watched.pop(instance.id, None))

    async def _clear_away(self, instance: Instance) -> None:
        """Collect the output until the end, then say how it ended and remove it."""
        try:
            await self._collection.track(instance)
            ended = await self._engine.wait(instance)
            if ended is None:
                return
            await self._engine.stop(ended, 0)  # removes it, once its last lines are in the log
            outcome = Outcome(ended.exit_code or 0, ended.out_of_memory)
            await self._report(instance.app_id, oneoff_messages.one_off_ended(instance.name, outcome))
        except EngineError as error:
            log.warning("a one-off is looked at later", instance=instance.name, reason=str(error))


class _Watch:
    """An attachment that remembers how its process ended."""

    def __init__(self, attachment: Attachment) -> None:
        self.outcome: Outcome | None = None
        self._attachment = attachment
        self.read = attachment.read
        self.write = attachment.write
        self.write_eof = attachment.write_eof
        self.resize = attachment.resize
        self.signal = attachment.signal
        self.end = attachment.end

    async def wait(self) -> Outcome:
        """Return how the process ended."""
        self.outcome = await self._attachment.wait()
        return self.outcome


async def _ended(attachment: Attachment) -> None:
    with suppress(EngineError):
        await attachment.end()


def _one_off(number: int, wish: Wish) -> OneOff:
    return OneOff(number, wish.command, wish.resources, wish.terminal)


def _shown(command: tuple[str, ...]) -> str:
    text = " ".join(command[2:] if command[:2] == ("/bin/sh", "-c") else command)
    text = "".join(character if character.isprintable() else " " for character in text)
    return text[:_SHOWN_COMMAND] + ("…" if len(text) > _SHOWN_COMMAND else "")
