"""`cygni serve` with ECS's simulated data plane in the same process, and with builds that are only recorded."""

import asyncio
import random
from contextlib import AsyncExitStack
from dataclasses import replace

from ecs_plane import PACE, Plane

import cygni.app
from buildpacks.memory import MemoryBuilder, MemoryImages, NoStacks
from config import Settings
from config.logging import configure
from config.settings import load
from cygni.backends import Backend, programs_of
from deployer.memory import Machine
from deployer.ports import Leaving

UNHURRIED = replace(PACE, tick_with_queue=0.2, safety=5, log_tick=0.3)
"""The server's other work has this processor too."""


async def backend(settings: Settings, identity: str, leaving: Leaving, stack: AsyncExitStack) -> Backend:
    """Instead of the real one: the engine is the real one, what it talks to is not."""
    images = MemoryImages(settings.data / "memory-images.json")
    machine = Machine(programs_of(images))
    network = f"127.{random.randrange(120, 250)}.{random.randrange(256)}"
    plane = Plane(machine, [f"{network}.{last}" for last in range(1, 250)])
    plane.open()
    stack.callback(machine.close)
    stack.push_async_callback(plane.close)
    engine = plane.engine(server=identity, leaving=leaving, pace=UNHURRIED)
    stack.push_async_callback(engine.close)
    return Backend(engine, MemoryBuilder(images), images, NoStacks())


if __name__ == "__main__":
    made = load()
    configure(made.log_level, made.log_format)
    vars(cygni.app)["make_backend"] = backend
    asyncio.run(cygni.app.serve(made))
