"""A world without a control plane on the simulated data plane of ECS."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from deployer_world import Life, World
from ecs_plane import REGION, Plane

from deployer.ecs import Aws, EcsEngine
from deployer.ports import Engine


class MortalAws(Aws):
    """Every call is a step of a life: death comes before it, or when it has had its effect."""

    def __init__(self, life: Life, session: Any) -> None:
        super().__init__(REGION, session)
        self._life = life

    async def call(self, service: str, operation: str, /, **arguments: Any) -> Mapping[str, Any]:
        if self._life.left is None:
            return await super().call(service, operation, **arguments)
        work = super().call
        return await self._life.do(operation, lambda: work(service, operation, **arguments))


class EcsWorld(World):
    """Engines are those of `plane`; ids of instances are names of services."""

    def __init__(self, network: str) -> None:
        super().__init__(network)
        self.plane = Plane(self.machine, [str(self.network[offset]) for offset in range(10, 60)])
        self.engines: list[EcsEngine] = []

    def engine(self, life: Life) -> Engine:
        made = self.plane.engine(aws=MortalAws(life, self.plane.session))
        self.engines.append(made)
        return made

    async def bury(self) -> None:
        """End the control planes so far, in good order: two of a server never run at one time."""
        for engine in self.engines:
            await engine.close()
        self.engines.clear()

    @asynccontextmanager
    async def opened(self) -> AsyncIterator["EcsWorld"]:
        self.plane.open()
        try:
            yield self
        finally:
            await self.bury()
            await self.plane.close()
            self.machine.close()
