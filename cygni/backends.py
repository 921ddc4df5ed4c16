"""The part of the composition root that `CYGNI_ENGINE` chooses: where images are made and run."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from buildpacks.buildkit.engine import BuildKitBuilder
from buildpacks.memory import PROGRAM_FILE, MemoryBuilder, MemoryImages, NoStacks
from buildpacks.ports import BaseImages, ImageBuilder, ImageStore
from buildpacks.stacks.stack import Stacks
from buildpacks.stacks.suites import Suites
from config import Settings
from config.certificates import extra_certificates
from deployer.docker import DockerEngine
from deployer.ecs import Aws, Ecr, EcsEngine, EcsOptions
from deployer.memory import Machine, MemoryEngine, Program, ProgramError, Programs, parse
from deployer.ports import Engine, EngineError, Leaving


def make_stacks(settings: Settings) -> Suites:
    """The base images of the server's engine."""
    lock = settings.data / "stack.lock"
    certificates = extra_certificates(settings)

    def stacks(suite: str) -> Stacks:
        image = f"{settings.stack_image}:{suite}" if settings.stack_image else None
        return Stacks(settings.docker_socket, certificates, lock_file=lock, suite=suite, registry_image=image)

    return Suites(stacks)


@dataclass(frozen=True)
class Backend:
    """Where images are made and run: what `CYGNI_ENGINE` chooses."""

    engine: Engine
    builder: ImageBuilder
    images: ImageStore
    stacks: BaseImages


async def make_backend(settings: Settings, identity: str, leaving: Leaving, stack: AsyncExitStack) -> Backend:
    """Make the engine and the builder; `stack` closes them."""
    if settings.engine in {"docker", "ecs"}:
        engine = (_make_docker if settings.engine == "docker" else _make_ecs)(settings, identity, leaving)
        stack.push_async_callback(engine.close)
        builder = BuildKitBuilder(settings.docker_socket, slots=settings.build_slots)
        stack.push_async_callback(builder.close)
        stacks = await stack.enter_async_context(make_stacks(settings))
        return Backend(engine, builder, builder.images, stacks)
    images = MemoryImages(settings.data / "memory-images.json")
    machine = Machine(programs_of(images))
    stack.callback(machine.close)
    return Backend(
        MemoryEngine(machine, identity, leaving=leaving), MemoryBuilder(images), images, NoStacks()
    )


def _make_docker(settings: Settings, identity: str, leaving: Leaving) -> Engine:
    return DockerEngine(
        settings.docker_socket,
        identity,
        settings.network,
        leaving=leaving,
        cgroup_parent=settings.cgroup_parent,
    )


def _make_ecs(settings: Settings, identity: str, leaving: Leaving) -> Engine:
    """Images are built on the local engine and pushed from there."""
    options = EcsOptions(
        region=settings.ecs_region or "",  # the settings refuse ECS without these
        cluster=settings.ecs_cluster,
        subnets=settings.ecs_subnets or (),
        security_groups=settings.ecs_security_groups or (),
        execution_role=settings.ecs_execution_role or "",
        log_group=settings.ecs_log_group,
        task_role=settings.ecs_task_role,
        queue_url=settings.ecs_queue_url,
        public_addresses=settings.ecs_public_addresses,
        spot=settings.ecs_spot,
        architecture=settings.ecs_architecture,
    )
    aws = Aws(options.region)
    registry = Ecr(aws, settings.docker_socket, identity)
    return EcsEngine(options, identity, leaving=leaving, aws=aws, registry=registry)


def programs_of(images: MemoryImages) -> Programs:
    """What recorded images do when they run: what their tree says, or the default."""

    def program(image: str, command: tuple[str, ...]) -> Program | None:
        del command
        found = images.record(image)
        if found is None:
            return None
        try:
            return parse(found.program) if found.program else Program()
        except ProgramError as error:
            raise EngineError(f"{PROGRAM_FILE}: {error}") from error

    return program
