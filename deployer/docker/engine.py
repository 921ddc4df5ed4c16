"""Implements the Engine port on Docker: calls through the SDK in bounded threads, streams on the event loop."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any, TypeVar

import docker
import docker.errors
import structlog

from deployer.addresses import AddressPool
from deployer.docker import cgroups, containers, execs, network, sockets
from deployer.docker.calls import Calls
from deployer.docker.entrypoints import Entrypoints
from deployer.docker.errors import GoneError
from deployer.docker.execs import Tools
from deployer.docker.oneoffs import OneOffs
from deployer.docker.slices import Slice
from deployer.docker.streams import Streams
from deployer.manifest import Manifest, Process, Resources
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

T = TypeVar("T")

_GRACE = 10
"""Between the two samples that a CPU usage is made of."""

log = structlog.get_logger()


class DockerEngine:
    """Containers of one server on one machine. Those of other servers on the same engine are never touched."""

    def __init__(
        self,
        socket: Path,
        server: str,
        subnet: IPv4Network,
        *,
        leaving: Leaving | None = None,
        cgroup_parent: str | None = None,
    ) -> None:
        self._server = server
        self._leaving = leaving or nobody
        self._subnet = subnet
        self._network = f"cygni-{server}"
        self._network_ready = False
        self._slice = Slice(cgroup_parent)
        self._calls = Calls(socket)
        self._call = self._calls.call
        self._streams = Streams(socket, server)
        self._entrypoints = Entrypoints(self._call)
        self._tools = Tools(socket, self._streams, self._call)
        self._runs = OneOffs(
            self._tools, self._make_one_off, self._remove_one_off, self.inspect, self._entrypoints
        )
        self._pool = AddressPool(subnet)
        self._placing = asyncio.Lock()
        self._restarts: Counter[str] = Counter()
        self._exits: dict[str, Exit] = {}
        self._one_offs: set[str] = set()
        self._stopping: Counter[str] = Counter()
        self._removals: set[asyncio.Task[None]] = set()

    async def check(self) -> None:
        """Raise EngineError when the engine cannot be used."""
        await self._call(lambda api: api.ping())

    async def close(self) -> None:
        """Release connections and threads."""
        await asyncio.gather(*self._removals)
        await self._streams.close()
        self._calls.close()

    async def start(
        self, manifest: Manifest, process: Process, number: int, *, generation: int = 0
    ) -> Instance:
        """Create and start one instance; an identical one that already runs is returned."""
        wanted = containers.labels(self._server, manifest, process.type, number, generation)
        for found in await self._find(wanted):
            if found.state == "running":
                return found
            await self.stop(found, 0)
        made = await self._create(manifest, process.type, number, wanted, process.command, process.resources)
        await self._run_created(made)
        address = Address(made[1], manifest.port) if process.routed else None
        return Instance(
            id=made[0],
            app_id=manifest.app_id,
            app=manifest.app,
            release=manifest.release,
            process=process.type,
            number=number,
            state="running",
            address=address,
            started_at=datetime.now(UTC),
            generation=generation,
        )

    async def _run_created(self, made: tuple[str, str]) -> None:
        try:
            await self._call(lambda api: api.start(made[0]))
        except BaseException:
            await asyncio.shield(self._remove(made[0]))
            self._pool.release(made[0])
            raise

    async def _create(
        self,
        manifest: Manifest,
        process: str,
        number: int,
        labels: dict[str, str],
        command: tuple[str, ...],
        resources: Resources,
        *,
        logged: bool = True,
        **more: Any,
    ) -> tuple[str, str]:
        """Return the container's id and its address."""
        await self._ensure_network()
        init = await self._entrypoints.needs_init(manifest.image)
        parent = await self._call(self._slice.parent)
        async with self._placing:
            address = self._pool.take()
            made = await self._call(
                lambda api: api.create_container(
                    manifest.image,
                    list(command) or None,
                    name=containers.name(self._server, manifest, process, number),
                    labels=labels,
                    environment=containers.environment(manifest),
                    host_config=api.create_host_config(
                        network_mode=self._network,
                        **containers.host_options(resources, parent, init=init, logged=logged),
                    ),
                    networking_config=network.join(api, self._network, address),
                    **more,
                )
            )
            self._pool.assign(made["Id"], address)
        return made["Id"], address

    async def _ensure_network(self) -> None:
        async with self._placing:
            if self._network_ready:
                return
            await network.ensure(self._call, self._network, self._subnet, self._server)
            self._pool.known(await self._addresses())
            self._network_ready = True

    async def _addresses(self) -> Sequence[tuple[str, str]]:
        found = await self._inspect_all([f"cygni.server={self._server}"], one_offs=True)
        pairs = ((item["Id"], containers.static_address(item, self._network)) for item in found)
        return [(container_id, address) for container_id, address in pairs if address]

    async def list(self, app_id: str | None = None) -> Sequence[Instance]:
        """Return this server's instances in every state, one-off ones left out."""
        labels = [f"cygni.server={self._server}", *([f"cygni.app-id={app_id}"] if app_id else [])]
        return [self._instance(item) for item in await self._inspect_all(labels)]

    async def _find(self, labels: dict[str, str]) -> Sequence[Instance]:
        found = await self._inspect_all([f"{key}={value}" for key, value in labels.items()])
        return [self._instance(item) for item in found]

    async def _inspect_all(
        self, labels: Sequence[str], *, one_offs: bool = False
    ) -> Sequence[dict[str, Any]]:
        def gather(api: docker.APIClient) -> Sequence[dict[str, Any]]:
            found: list[dict[str, Any]] = []
            # Labels of an image are labels of every container made from it, by whomever: ours say what they run.
            for item in api.containers(all=True, filters={"label": [*labels, "cygni.process"]}):
                if containers.ONE_OFF in item["Labels"] and not one_offs:
                    continue  # to inspect one that has just ended takes as long as the engine needs to let it go
                with suppress(docker.errors.NotFound):  # removed since it was listed
                    found.append(api.inspect_container(item["Id"]))
            return found

        found: Sequence[dict[str, Any]] = await self._call(gather)
        return found

    def _instance(self, inspected: dict[str, Any]) -> Instance:
        found = inspected["Id"]
        seen = containers.instance(inspected, self._network, self._restarts[found], self._exits.get(found))
        return replace(seen, state="stopping") if found in self._stopping else seen

    async def inspect(self, instance_id: str) -> Instance | None:
        """Return one instance as it is now, None when it is gone."""
        try:
            return self._instance(await self._call(lambda api: api.inspect_container(instance_id)))
        except GoneError:
            return None

    async def usage(self, instances: Sequence[Instance]) -> Mapping[str, Usage]:
        """What running instances use now; those that cannot be measured are left out."""
        running = [item.id for item in instances if item.state == "running"]
        pids = dict(zip(running, await asyncio.gather(*[self._pid(item) for item in running]), strict=True))
        return await cgroups.measure({found: pid for found, pid in pids.items() if pid})

    async def _pid(self, container_id: str) -> int:
        """The first process as this machine numbers it; 0 for none."""
        try:
            found = await self._call(lambda api: api.inspect_container(container_id))
        except GoneError:
            return 0
        return int(found["State"]["Pid"])

    async def stop(self, instance: Instance, timeout: float) -> None:
        """SIGTERM, then SIGKILL after `timeout` seconds, then remove; gone already is fine."""
        self._stopping[instance.id] += 1
        try:
            with suppress(GoneError):
                await self._call(lambda api: api.stop(instance.id, timeout=round(timeout)), timeout + _GRACE)
                await self._leaving(instance)
            await self._remove(instance.id)
        finally:
            self._stopping[instance.id] -= 1
            if not self._stopping[instance.id]:
                del self._stopping[instance.id]
        if instance.one_off is None:
            self._pool.rest(instance.id, instance.app_id)
        else:
            self._pool.release(instance.id)
        del self._restarts[instance.id]
        self._exits.pop(instance.id, None)

    async def _remove(self, container_id: str) -> None:
        try:
            await self._call(lambda api: api.remove_container(container_id, force=True, v=True))
        except GoneError:
            return
        except EngineError as error:
            if "already in progress" not in str(error):  # somebody else is at it
                raise

    async def restart(self, instance: Instance, timeout: float = 30.0) -> Instance:
        """Start an instance again, at the same address; one that still runs is stopped first."""
        if instance.id in self._stopping:
            raise EngineError(f"{instance.name} is being stopped")
        try:
            ended = containers.ending(await self._call(lambda api: api.inspect_container(instance.id)))
            await self._call(lambda api: api.restart(instance.id, timeout=round(timeout)), timeout + _GRACE)
        except GoneError as error:
            raise EngineError(f"{instance.name} is gone") from error
        self._restarts[instance.id] += 1
        if ended is not None:
            self._exits[instance.id] = ended
        found = await self.inspect(instance.id)
        if found is None:
            raise EngineError(f"{instance.name} is gone")
        return found

    async def wait(self, instance: Instance) -> Instance | None:
        """Return the instance as soon as it does not run, None when it is gone."""
        await self._streams.wait(instance.id)
        return await self.inspect(instance.id)

    async def listening(self, instance: Instance) -> Sequence[Address]:
        """Where its processes accept TCP connections, as seen from inside; empty where that is unknown."""
        pid = await self._pid(instance.id)
        return await asyncio.to_thread(sockets.listening, pid) if pid else ()

    def reclaim(self, app_id: str) -> None:
        """Addresses of the app's stopped instances may be given out again."""
        self._pool.reclaim(app_id)

    async def sweep(self, app_id: str | None = None) -> None:
        """Remove one-offs: all of an app, or (None) those whose control plane died, detached ones left out."""
        labels = [f"cygni.server={self._server}", containers.ONE_OFF]
        labels += [f"cygni.app-id={app_id}"] if app_id else []
        for found in await self._call(lambda api: api.containers(all=True, filters={"label": labels})):
            detached = found["Labels"][containers.ONE_OFF] == containers.DETACHED
            if app_id is not None or not (detached or found["Id"] in self._one_offs):
                await self._remove(found["Id"])

    async def one_offs(self, app_id: str | None = None) -> Sequence[Instance]:
        """Return this server's attached and detached one-offs in every state."""
        labels = [f"cygni.server={self._server}", *([f"cygni.app-id={app_id}"] if app_id else [])]
        found = [
            self._instance(item)
            for item in await self._inspect_all([*labels, containers.ONE_OFF], one_offs=True)
        ]
        return [instance for instance in found if instance.one_off is not None]

    async def run_attached(self, manifest: Manifest, one_off: OneOff) -> tuple[Instance, Attachment]:
        """Start a one-off joined to the caller. Its output is kept nowhere."""
        return await self._runs.attached(manifest, one_off)

    async def run_detached(self, manifest: Manifest, one_off: OneOff) -> Instance:
        """Start a one-off that outlives the caller; its output is in `logs`."""
        return await self._runs.detached(manifest, one_off)

    async def execute(
        self,
        instance: Instance,
        command: tuple[str, ...],
        terminal: Terminal | None,
        environment: Mapping[str, str],
    ) -> Attachment:
        """Start a process inside a running instance, joined to the caller."""
        return await execs.execute(self._tools, instance.id, command, terminal, environment)

    async def _make_one_off(
        self, manifest: Manifest, one_off: OneOff, command: tuple[str, ...], *, attached: bool
    ) -> str:
        kind = containers.ATTACHED if attached else containers.DETACHED
        labels = containers.labels(self._server, manifest, ONE_OFF_PROCESS, one_off.number, 0)
        made, _ = await self._create(
            manifest,
            ONE_OFF_PROCESS,
            one_off.number,
            labels | {containers.ONE_OFF: kind},
            command,
            one_off.resources,
            logged=not attached,
            **({"stdin_open": True, "tty": one_off.terminal is not None} if attached else {}),
        )
        self._one_offs.add(made)
        return made

    async def run(
        self, manifest: Manifest, command: tuple[str, ...], output: Announce, timeout: float
    ) -> int:
        """Run a one-off in the release's image and environment; returns its exit code. Removed afterwards."""
        labels = containers.labels(self._server, manifest, "release", 1, 0) | {
            containers.ONE_OFF: containers.RELEASE_PHASE
        }
        made = await self._create(manifest, "release", 1, labels, command, Resources())
        self._one_offs.add(made[0])
        began = datetime.now(UTC)
        try:
            await self._call(lambda api: api.start(made[0]))
            async with asyncio.timeout(timeout):
                async for line in self._streams.logs(made[0], {"follow": "1"}):
                    await output(line.text)
                code = await self._streams.exit_code(made[0], began)
        except BaseException:
            await asyncio.shield(self._remove_one_off(made[0]))
            raise
        if code is None:
            await self._remove_one_off(made[0])
            raise EngineError("the one-off was removed before it ended")
        self._remove_later(made[0])
        return code

    def _remove_later(self, one_off: str) -> None:
        """Remove a one-off that has ended without making anyone wait: the engine takes 0.1 s to let go of one."""
        task = asyncio.create_task(self._remove_one_off(one_off))
        self._removals.add(task)
        task.add_done_callback(self._removals.discard)

    async def _remove_one_off(self, one_off: str) -> None:
        try:
            await self._remove(one_off)
        except EngineError as error:  # `sweep` removes it, now that it is nobody's
            log.warning("a one-off stayed", container=one_off, error=str(error))
        finally:
            self._one_offs.discard(one_off)
            self._pool.release(one_off)

    async def logs(
        self, instance: Instance, since: datetime | None, *, follow: bool, tail: int | None = None
    ) -> AsyncGenerator[LogLine, None]:
        """Lines after `since` (all for None), then as they come when `follow`; ends with the instance."""
        parameters = {"follow": "1"} if follow else {}
        if since is not None:
            parameters["since"] = f"{since.timestamp():.6f}"
        if tail is not None:
            parameters["tail"] = str(tail)
        async for line in self._streams.logs(instance.id, parameters):
            if since is None or line.at > since:
                yield line

    def events(self) -> AsyncGenerator[Event, None]:
        """Events of this server's instances, one-off ones left out, from this call on."""
        return self._streams.events()
