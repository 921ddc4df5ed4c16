"""One-off containers, joined to a caller or on their own."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from deployer.docker.attach import StreamAttachment, upgrade
from deployer.docker.entrypoints import Entrypoints
from deployer.docker.errors import GoneError
from deployer.docker.execs import HANG_UP_SECONDS, KILLED, SHELL, Tools, environment, waits_for_size
from deployer.manifest import Manifest
from deployer.ports import EngineError, Instance, OneOff, Outcome, Terminal

Discard = Callable[[str], Awaitable[None]]


class Make(Protocol):
    """Creates a one-off's container and returns its id."""

    def __call__(
        self, manifest: Manifest, one_off: OneOff, command: tuple[str, ...], *, attached: bool
    ) -> Awaitable[str]:
        """Create it; it is not started."""
        ...


class OneOffs:
    """Starts one-offs in containers that the engine makes and discards."""

    def __init__(
        self,
        tools: Tools,
        make: Make,
        discard: Discard,
        inspect: Callable[[str], Awaitable[Instance | None]],
        entrypoints: Entrypoints,
    ) -> None:
        self._tools = tools
        self._make = make
        self._discard = discard
        self._inspect = inspect
        self._entrypoints = entrypoints
        self._without_shell: set[str] = set()

    async def attached(self, manifest: Manifest, one_off: OneOff) -> tuple[Instance, StreamAttachment]:
        """Start one joined to the caller.

        Raises:
            EngineError: it cannot be started.
        """
        manifest = replace(manifest, env={**manifest.env, **environment(one_off.terminal)})
        made = await self._create(manifest, one_off)
        try:
            attachment = await self._attach(made, one_off.terminal)
            return await self._require(made), attachment
        except BaseException:
            await asyncio.shield(self._discard(made))
            raise

    async def detached(self, manifest: Manifest, one_off: OneOff) -> Instance:
        """Start one that outlives the caller.

        Raises:
            EngineError: it cannot be started.
        """
        made = await self._make(manifest, one_off, one_off.command, attached=False)
        try:
            await self._tools.call(lambda api: api.start(made))
            return await self._require(made)
        except BaseException:
            await asyncio.shield(self._discard(made))
            raise

    async def _create(self, manifest: Manifest, one_off: OneOff) -> str:
        """With a terminal the command waits for its size, where the image has a shell to wait in."""
        image = manifest.image
        can_wait = image not in self._without_shell and await self._entrypoints.passes_on(image)
        if one_off.terminal is None or not can_wait:
            return await self._make(manifest, one_off, one_off.command, attached=True)
        made = await self._make(manifest, one_off, waits_for_size(one_off.command), attached=True)
        if await self._tools.streams.has_file(made, SHELL):
            return made
        self._without_shell.add(image)
        await self._discard(made)
        return await self._create(manifest, one_off)

    async def _attach(self, container_id: str, terminal: Terminal | None) -> StreamAttachment:
        """Join a created container, then start it, so that no output is missed."""
        path = f"/containers/{container_id}/attach?stream=1&stdin=1&stdout=1&stderr=1"
        connection = await upgrade(self._tools.socket, path)
        control = ContainerControl(self._tools, self._discard, container_id)
        try:
            await self._tools.call(lambda api: api.start(container_id))
            if terminal is not None:
                await control.resize(terminal.columns, terminal.rows)
        except BaseException:
            await connection.close()
            raise
        return StreamAttachment(connection, control, terminal=terminal is not None)

    async def _require(self, container_id: str) -> Instance:
        found = await self._inspect(container_id)
        if found is None:
            raise EngineError("the one-off was removed before it ended")
        return found


class ContainerControl:
    """A container that was made for one process."""

    def __init__(self, tools: Tools, discard: Discard, container_id: str) -> None:
        self._tools = tools
        self._discard = discard
        self._id = container_id

    async def resize(self, columns: int, rows: int) -> None:
        """Change its terminal's size; one that has ended has none."""
        with suppress(EngineError):
            await self._tools.call(lambda api: api.resize(self._id, rows, columns))

    async def signal(self, name: str) -> None:
        """Send the process a signal; the init in front of it passes it on."""
        with suppress(EngineError):
            await self._tools.call(lambda api: api.kill(self._id, f"SIG{name}"))

    async def outcome(self) -> Outcome:
        """Wait for the end."""
        code = await self._tools.streams.wait(self._id)
        memory = False
        with suppress(GoneError):
            state = (await self._tools.call(lambda api: api.inspect_container(self._id)))["State"]
            memory = bool(state["OOMKilled"])
        return Outcome(KILLED if code is None else code, memory)

    async def end(self) -> None:
        """Hang up, and remove the container when it has ended or has had its time."""
        try:
            await self.signal("HUP")
            with suppress(EngineError, TimeoutError):
                async with asyncio.timeout(HANG_UP_SECONDS):
                    await self._tools.streams.wait(self._id)
        finally:
            await asyncio.shield(self._discard(self._id))
