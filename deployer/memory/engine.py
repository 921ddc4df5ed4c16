"""Implements the Engine port on a simulated machine, with the promises and the failures of a real one."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from datetime import datetime
from hashlib import sha256
from ipaddress import IPv4Network
from typing import Literal
from uuid import uuid4

from deployer.addresses import AddressPool
from deployer.manifest import Manifest, Process
from deployer.memory.attachment import MemoryAttachment
from deployer.memory.container import Birth, Container
from deployer.memory.machine import Machine
from deployer.ports import (
    ONE_OFF_PROCESS,
    Address,
    Announce,
    Attachment,
    EngineError,
    Event,
    Exit,
    Instance,
    Leaving,
    LogLine,
    OneOff,
    Terminal,
    Usage,
    nobody,
)

_HALF_OF_LOOPBACK = 128


def loopback(server: str) -> IPv4Network:
    """A part of the loopback network for a server: two of them on one host hardly ever meet."""
    first, second = sha256(server.encode()).digest()[:2]
    return IPv4Network((0x7F000000 | (_HALF_OF_LOOPBACK + first % 127) << 16 | (second & 0xF0) << 8, 20))


class MemoryEngine:
    """Containers of one server on one machine; ends with nothing but the machine it was given."""

    def __init__(
        self,
        machine: Machine,
        server: str,
        network: IPv4Network | None = None,
        *,
        leaving: Leaving | None = None,
    ) -> None:
        self._machine = machine
        self._leaving = leaving or nobody
        self._server = server
        self._pool = AddressPool(network or loopback(server))
        self._pool.known((item.birth.id, item.birth.host) for item in machine.of(server))
        self._one_offs: set[str] = set()
        self._stopping: set[str] = set()

    async def check(self) -> None:
        """Raise EngineError when the engine cannot be used."""
        await self._call()

    async def close(self) -> None:
        """Release what this engine holds; the machine goes on."""

    async def _call(self) -> None:
        """What every call begins with: others get a turn, and a machine that is down refuses."""
        await asyncio.sleep(0)
        self._machine.check()

    async def start(
        self, manifest: Manifest, process: Process, number: int, *, generation: int = 0
    ) -> Instance:
        """Create and start one instance; an identical one that already runs is returned."""
        await self._call()
        wanted = (manifest.release, process.type, number, generation)
        for found in self._machine.of(self._server, manifest.app_id):
            birth = found.birth
            if birth.one_off or wanted != (
                birth.manifest.release,
                birth.process,
                birth.number,
                birth.generation,
            ):
                continue
            if found.state == "running" and birth.id not in self._stopping:
                return self._instance(found)
            await self.stop(self._instance(found), 0)
        made = self._make(manifest, process, number, generation)
        return await self._run_made(made)

    async def _run_made(self, made: Container) -> Instance:
        try:
            await self._call()
            made.start()
        except BaseException:
            self._machine.remove(made)
            self._pool.release(made.birth.id)
            raise
        return self._instance(made)

    def _make(
        self,
        manifest: Manifest,
        process: Process,
        number: int,
        generation: int,
        *,
        one_off: Literal["attached", "detached", "release-phase"] | None = None,
    ) -> Container:
        program = self._machine.program(manifest.image, process.command)
        if program is None:
            raise EngineError(f"no such image: {manifest.image}")
        birth = Birth(
            id=uuid4().hex,
            server=self._server,
            manifest=manifest,
            process=process.type,
            number=number,
            generation=generation,
            program=program,
            host=self._pool.take(),
            routed=process.routed,
            one_off=one_off,
        )
        self._pool.assign(birth.id, birth.host)
        return self._machine.add(birth)

    def _instance(self, container: Container) -> Instance:
        found = container.birth.id
        return container.instance(self._machine.restarts[found], stopping=found in self._stopping)

    async def list(self, app_id: str | None = None) -> Sequence[Instance]:
        """Return this server's instances in every state, one-off ones left out."""
        await self._call()
        found = self._machine.of(self._server, app_id)
        return [self._instance(item) for item in found if not item.birth.one_off]

    async def inspect(self, instance_id: str) -> Instance | None:
        """Return one instance as it is now, None when it is gone."""
        await self._call()
        found = self._machine.find(instance_id)
        return self._instance(found) if found else None

    async def usage(self, instances: Sequence[Instance]) -> Mapping[str, Usage]:
        """Nothing is used of what is allowed."""
        await self._call()
        found = [item for item in map(self._machine.find, [i.id for i in instances]) if item]
        return {item.birth.id: Usage(0, item.memory_limit, 0.0) for item in found if item.state == "running"}

    async def stop(self, instance: Instance, timeout: float) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds, then remove; gone already is fine."""
        await self._call()
        found = self._machine.find(instance.id)
        if found is not None:
            self._stopping.add(instance.id)
            try:
                await found.terminate(timeout)
                await self._leaving(instance)
                await self._call()
                self._machine.remove(found)
            finally:
                self._stopping.discard(instance.id)
        if instance.one_off is None:
            self._pool.rest(instance.id, instance.app_id)
        else:
            self._pool.release(instance.id)

    async def restart(self, instance: Instance, timeout: float = 30.0) -> Instance:
        """Start an instance again, at the same address; one that still runs is stopped first."""
        await self._call()
        found = self._restartable(instance)
        if found.state == "exited":
            found.last_exit = Exit(found.finished_at, found.exit_code, found.out_of_memory)
        await found.terminate(timeout)
        await self._call()
        self._restartable(instance).start()
        self._machine.restarts[instance.id] += 1
        return self._instance(found)

    def _restartable(self, instance: Instance) -> Container:
        found = self._machine.find(instance.id)
        if found is None:
            raise EngineError(f"{instance.name} is gone")
        if instance.id in self._stopping:
            raise EngineError(f"{instance.name} is being stopped")
        return found

    async def wait(self, instance: Instance) -> Instance | None:
        """Return the instance as soon as it does not run, None when it is gone."""
        await self._call()
        found = self._machine.find(instance.id)
        if found is None:
            return None
        while found.state == "running":
            await found.pulse.wait()
            self._machine.check()
        return None if found.gone else self._instance(found)

    async def listening(self, instance: Instance) -> Sequence[Address]:
        """Where its processes accept TCP connections, as seen from inside."""
        await self._call()
        found = self._machine.find(instance.id)
        return found.listening if found else ()

    def reclaim(self, app_id: str) -> None:
        """Addresses of the app's stopped instances may be given out again."""
        self._pool.reclaim(app_id)

    async def sweep(self, app_id: str | None = None) -> None:
        """Remove one-offs: all of an app, or (None) those whose control plane died, detached ones left out."""
        await self._call()
        for found in self._machine.of(self._server, app_id):
            birth = found.birth
            ours = birth.one_off == "detached" or birth.id in self._one_offs
            if birth.one_off and (app_id is not None or not ours):
                self._discard(found)

    def _discard(self, one_off: Container) -> None:
        self._machine.remove(one_off)
        self._pool.release(one_off.birth.id)
        self._one_offs.discard(one_off.birth.id)

    async def one_offs(self, app_id: str | None = None) -> Sequence[Instance]:
        """Return this server's attached and detached one-offs in every state."""
        await self._call()
        found = [self._instance(item) for item in self._machine.of(self._server, app_id)]
        return [instance for instance in found if instance.one_off is not None]

    async def run_attached(self, manifest: Manifest, one_off: OneOff) -> tuple[Instance, Attachment]:
        """Start a one-off joined to the caller."""
        made = await self._start_one_off(manifest, one_off, "attached")
        attachment = MemoryAttachment(made, made.birth.program, lambda: self._discard(made))
        return self._instance(made), attachment

    async def run_detached(self, manifest: Manifest, one_off: OneOff) -> Instance:
        """Start a one-off that outlives the caller; its output is in `logs`."""
        return self._instance(await self._start_one_off(manifest, one_off, "detached"))

    async def _start_one_off(
        self, manifest: Manifest, one_off: OneOff, kind: Literal["attached", "detached"]
    ) -> Container:
        await self._call()
        process = Process(ONE_OFF_PROCESS, one_off.command, 1)
        made = self._make(manifest, process, one_off.number, 0, one_off=kind)
        self._one_offs.add(made.birth.id)
        made.start()
        return made

    async def execute(
        self,
        instance: Instance,
        command: tuple[str, ...],
        terminal: Terminal | None,
        environment: Mapping[str, str],
    ) -> Attachment:
        """Start a process inside a running instance, joined to the caller; nothing of it stays."""
        del terminal, environment
        await self._call()
        found = self._machine.find(instance.id)
        if found is None or found.state != "running":
            raise EngineError(f"{instance.name} does not run")
        inside = Process(ONE_OFF_PROCESS, command, 1)
        made = self._make(found.birth.manifest, inside, 0, 0, one_off="release-phase")
        self._one_offs.add(made.birth.id)
        made.start()
        return MemoryAttachment(made, made.birth.program, lambda: self._discard(made))

    async def run(
        self, manifest: Manifest, command: tuple[str, ...], output: Announce, timeout: float
    ) -> int:
        """Run a one-off in the release's image and environment; returns its exit code. Removed afterwards."""
        await self._call()
        made = self._make(manifest, Process("release", command, 1), 1, 0, one_off="release-phase")
        self._one_offs.add(made.birth.id)
        try:
            await self._call()
            made.start()
            async with asyncio.timeout(timeout):
                async for line in self._read(made, lambda _: True, 0, follow=True):
                    await output(line.text)
            if made.gone or made.exit_code is None:
                raise EngineError("the one-off was removed before it ended")
            return made.exit_code
        finally:
            self._discard(made)

    async def logs(
        self, instance: Instance, since: datetime | None, *, follow: bool, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """Lines after `since` (all for None), then as they come when `follow`; ends with the instance."""
        await self._call()
        found = self._machine.find(instance.id)
        if found is None:
            return
        first = 0 if tail is None else max(0, len(found.lines) - tail)
        async for line in self._read(found, lambda at: since is None or at > since, first, follow=follow):
            yield line

    async def _read(
        self, container: Container, wanted: Callable[[datetime], bool], first: int, *, follow: bool
    ) -> AsyncGenerator[LogLine, None]:
        position = first
        while True:
            over = container.state != "running"
            while position < len(container.lines):
                line = container.lines[position]
                position += 1
                if wanted(line.at):
                    yield line
            if not follow or over:
                return
            if container.state == "running" and position == len(container.lines):
                await container.pulse.wait()
            self._machine.check()

    def events(self) -> AsyncGenerator[Event, None]:
        """Events of this server's instances, one-off ones left out, from this call on."""
        return self._events(self._machine.now)

    async def _events(self, position: int) -> AsyncGenerator[Event, None]:
        while True:
            self._machine.check()
            for server, event in self._machine.events_from(position):
                position += 1
                if server == self._server:
                    yield event
            if position == self._machine.now:
                await self._machine.pulse.wait()
