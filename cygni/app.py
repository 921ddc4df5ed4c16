"""The composition root: the only place that builds adapters and wires them, and the life of `cygni serve`."""

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import structlog

from config import Settings
from config.service import ServiceManager, inherited
from cygni import messages
from cygni.backends import Backend, make_backend
from cygni.builds import Builds
from cygni.certificates import Certificates
from cygni.collecting import LogCollection
from cygni.commands.rate import CommandRate
from cygni.control import ControlServer
from cygni.disk import Disk
from cygni.domain.models import Lane
from cygni.handlers import Handlers
from cygni.housekeeping import Housekeeping
from cygni.images import Images
from cygni.jobs import Worker
from cygni.keys import Keys, UsedKeys
from cygni.lanes import DeployLane
from cygni.logs import BuildLogs, LogStore
from cygni.manifests import Desired, Manifests
from cygni.oneoffs import OneOffs
from cygni.operations import Operations
from cygni.permissions import Permissions
from cygni.pipeline import Pipeline
from cygni.ports_file import port_file
from cygni.pushes import Pushes
from cygni.rebuilds import Rebuilds
from cygni.recovery import recover
from cygni.releases import Releases
from cygni.reports import Reports
from cygni.repositories import Repositories
from cygni.retirements import Retirements
from cygni.routing import RouterProcess, RouterRoutes, collect_access_lines
from cygni.services import Services
from cygni.slots import PushSlots
from cygni.sources import Sources
from cygni.start import StartError, check_database, check_state
from cygni.state_lock import HeldError, held
from cygni.store import Store
from cygni.store.sole import sole_server
from cygni.teardown import Teardown
from cygni.transports import LocalCommands, SshCommands
from deployer.launch import Launcher
from deployer.ports import Engine
from deployer.reconcile import Reconciler
from deployer.rollout import Rollout
from deployer.routetable import RouteTable
from gitserver.ports import GitServerOptions, Limits
from gitserver.server import GitServer
from router.client import RouterClient

DEPLOYS_AT_ONCE = 4
STARTS_AT_ONCE = {
    "docker": 4,
    "memory": 4,
    "ecs": 100,
}  # a start on ECS costs this machine nothing but patience
STOP_GRACE = 10.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Platform:
    """Everything that lives as long as the server, built but not started."""

    settings: Settings
    services: Services
    worker: Worker
    router: RouterProcess
    routes: RouterRoutes
    router_client: RouterClient
    reconciler: Reconciler
    rebuilds: Rebuilds
    collection: LogCollection
    housekeeping: Housekeeping
    ssh: GitServer
    control: ControlServer


async def build(settings: Settings, stack: AsyncExitStack) -> Platform:
    """Make every part and hand each what it needs; `stack` closes them in reverse."""
    state = await _open_state(settings, stack)
    collection = LogCollection(state.logs)
    backend = await make_backend(settings, state.identity, collection.last_lines, stack)
    collection.follow(backend.engine)
    deployment = _make_deployment(settings, state, backend.engine, stack)
    sources = Sources(settings, state.store, state.repositories)
    worker, releases, rebuilds = _make_work(settings, state, sources, backend, deployment)
    operations = Operations(state.store, worker, state.build_logs)
    builds = Builds(state.store, worker, state.build_logs)
    permissions = Permissions(state.store)
    disk = Disk(settings.data, settings.disk_reserve)
    services = Services(
        settings=settings,
        store=state.store,
        worker=worker,
        logs=state.logs,
        build_logs=state.build_logs,
        repositories=state.repositories,
        operations=operations,
        builds=builds,
        releases=releases,
        engine=backend.engine,
        permissions=permissions,
        disk=disk,
        one_offs=OneOffs(state.store, deployment.manifests, backend.engine, collection, deployment.report),
        certificates=Certificates(state.store, deployment.client),
    )
    slots = PushSlots()
    housekeeping = Housekeeping(
        state.store, state.repositories, slots, releases, state.logs, state.build_logs
    )
    pushes = Pushes(
        disk, state.store, permissions, worker, builds, state.repositories, sources, slots, housekeeping
    )
    commands = SshCommands(services, UsedKeys(state.store), CommandRate())
    return Platform(
        settings=settings,
        services=services,
        worker=worker,
        router=RouterProcess(settings, deployment.client),
        routes=deployment.routes,
        router_client=deployment.client,
        reconciler=deployment.reconciler,
        rebuilds=rebuilds,
        collection=collection,
        housekeeping=housekeeping,
        ssh=GitServer(_ssh_options(settings), Keys(state.store), pushes, commands),
        control=ControlServer(settings.control_socket, LocalCommands(services).run),
    )


@dataclass(frozen=True)
class State:
    """What is kept in the state directory."""

    store: Store
    identity: str
    """This server's name on an engine."""
    logs: LogStore
    build_logs: BuildLogs
    repositories: Repositories


async def _open_state(settings: Settings, stack: AsyncExitStack) -> State:
    store = await _open_store(settings, stack)
    logs = await stack.enter_async_context(LogStore(settings.data / "logs"))
    build_logs = BuildLogs(settings.data / "builds")
    stack.push_async_callback(build_logs.close)
    repositories = Repositories(settings.data / "repositories")
    return State(store, await store.server.identity(), logs, build_logs, repositories)


async def _open_store(settings: Settings, stack: AsyncExitStack) -> Store:
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    check_state(settings)
    store = await Store.open(settings.store_url, settings.data / "secret.key")
    stack.push_async_callback(store.close)
    return store


@dataclass(frozen=True)
class Deployment:
    """What moves running instances and routes."""

    client: RouterClient
    routes: RouterRoutes
    manifests: Manifests
    report: Reports
    retirements: Retirements
    rollout: Rollout
    reconciler: Reconciler
    missing: set[str]
    """Apps whose live image is being built again."""


def _make_deployment(settings: Settings, state: State, engine: Engine, stack: AsyncExitStack) -> Deployment:
    client = RouterClient(settings.router_socket)
    stack.push_async_callback(client.close)
    manifests = Manifests(settings, state.store, lambda: client.http_port)
    routes = RouterRoutes(client, state.store, manifests)
    report = Reports(state.logs)
    retirements = Retirements(report)
    stack.push_async_callback(retirements.close)
    missing: set[str] = set()
    desired = Desired(state.store, manifests, lambda app_id: app_id in missing or retirements.busy(app_id))
    table = RouteTable(engine, routes)
    rollout = Rollout(engine, table, Launcher(engine, table, parallel=STARTS_AT_ONCE[settings.engine]))
    reconciler = Reconciler(engine, table, desired, report)
    retirements.tell(reconciler.mark)
    return Deployment(client, routes, manifests, report, retirements, rollout, reconciler, missing)


def _make_work(
    settings: Settings, state: State, sources: Sources, backend: Backend, deployment: Deployment
) -> tuple[Worker, Releases, Rebuilds]:
    """Return the worker, which knows every kind of job, and the use cases of both lanes."""
    store = state.store
    images = Images(settings, state.identity, store, backend.stacks, backend.builder, backend.images)
    concurrency = {Lane.BUILD: settings.build_slots * 4, Lane.DEPLOY: DEPLOYS_AT_ONCE}
    worker = Worker(store, {}, owner=uuid4().hex, concurrency=concurrency)
    lane = DeployLane(store, worker)
    releases = Releases(
        store,
        deployment.manifests,
        deployment.rollout,
        deployment.retirements,
        images,
        deployment.report,
        kept=settings.releases_kept,
    )
    pipeline = Pipeline(sources, images, releases, lane)
    teardown = Teardown(
        store, worker, releases, deployment.routes, images, state.repositories, state.logs, state.build_logs
    )
    rebuilds = Rebuilds(
        store, sources, images, deployment.report, deployment.missing, deployment.reconciler.mark
    )
    worker.register(Handlers(store, state.build_logs, pipeline, releases, lane, teardown, rebuilds).kinds())
    return worker, releases, rebuilds


def _ssh_options(settings: Settings) -> GitServerOptions:
    return GitServerOptions(
        host=settings.bind,
        port=settings.ssh_port,
        state=settings.data / "ssh",
        legacy_ciphers=settings.legacy_ciphers,
        limits=Limits(pack_bytes=settings.pack_bytes),
    )


@asynccontextmanager
async def offline_services(settings: Settings) -> AsyncIterator[Services]:
    """The services of commands that need only the store, while no server runs."""
    async with AsyncExitStack() as stack:
        platform = await build(settings, stack)
        yield platform.services


async def serve(settings: Settings) -> None:
    """Run the control plane and its router child until SIGTERM or SIGINT.

    Raises:
        StartError: another server uses the state directory, or a part cannot start.
    """
    manager, stop = ServiceManager(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _only_server(settings.data):
        await check_database(settings)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(sole_server(settings.store_url))
            platform = await build(settings, stack)
            await _start(platform, stack)
            log.info("serving", ssh=platform.ssh.port, http=platform.router_client.http_port)
            manager.ready()
            alive = asyncio.create_task(manager.keep_alive())
            stack.callback(alive.cancel)
            await stop.wait()
            manager.stopping()
            log.info("stopping")


async def _start(platform: Platform, stack: AsyncExitStack) -> None:
    """Start the parts, data plane first; what is pushed to `stack` is stopped in reverse."""
    await platform.router.start()
    stack.push_async_callback(platform.router.stop)
    await platform.services.certificates.publish()
    await start_work(platform, stack)
    await platform.control.start()
    stack.push_async_callback(platform.control.close)
    await platform.ssh.start(next((item for _, item in inherited()), None))
    stack.push_async_callback(platform.ssh.close, STOP_GRACE)
    _write_ports(platform)
    stack.callback(port_file(platform.settings.data).unlink, missing_ok=True)


async def start_work(platform: Platform, stack: AsyncExitStack) -> None:
    """Start everything behind the doors: what makes up for the last server's end, and what works from now on."""
    await recover(platform.services)
    await platform.rebuilds.look()
    tasks = await stack.enter_async_context(asyncio.TaskGroup())
    running = [
        tasks.create_task(collect_access_lines(platform.router_client, platform.services.logs)),
        tasks.create_task(platform.reconciler.run()),
        tasks.create_task(platform.collection.run()),
        tasks.create_task(platform.housekeeping.run()),
        tasks.create_task(platform.services.one_offs.run()),
        tasks.create_task(platform.worker.run()),
    ]
    stack.callback(_cancel, running)
    stack.push_async_callback(platform.worker.stop, STOP_GRACE)


def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()


def _write_ports(platform: Platform) -> None:
    router = platform.router_client
    ports = {"ssh_port": platform.ssh.port, "http_port": router.http_port, "pid": os.getpid()}
    if router.https_port:
        ports["https_port"] = router.https_port
    path = port_file(platform.settings.data)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(ports))
    temporary.replace(path)


@contextmanager
def _only_server(data: Path) -> Iterator[None]:
    try:
        with held(data):
            yield
    except HeldError:
        raise StartError(messages.already_serving(str(data))) from None
