"""What is left when a control plane dies: the containers of one machine, and what happened to them."""

from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from deployer.memory.container import Birth, Container
from deployer.memory.program import Program, Programs
from deployer.ports import EngineError, Event
from deployer.pulse import Pulse

HISTORY = 100_000
"""Events kept; a follower that is further behind is told that it missed some."""


def healthy(image: str, command: tuple[str, ...]) -> Program:
    """Every image is there and runs the default program."""
    del image, command
    return Program()


class Machine:
    """Containers by app, shared by the engines (one a server) that use this machine. Faults are injected here."""

    def __init__(self, programs: Programs = healthy) -> None:
        self.program = programs
        self.restarts: Counter[str] = Counter()
        self.pulse = Pulse()
        """Beats with every event, and when the machine goes down."""
        self._apps: defaultdict[str, dict[str, Container]] = defaultdict(dict)
        self._by_id: dict[str, Container] = {}
        self._events: deque[tuple[str, Event]] = deque(maxlen=HISTORY)
        self._count = 0
        self._down = ""

    def check(self) -> None:
        """Raise EngineError while the machine is down."""
        if self._down:
            raise EngineError(self._down, transient=True)

    def go_down(self, why: str = "the engine does not answer") -> None:
        """Refuse every call and break every stream until `come_back`; containers go on."""
        self._down = why
        self.pulse.beat()
        for container in self._by_id.values():
            container.pulse.beat()

    def come_back(self) -> None:
        """Answer again."""
        self._down = ""

    def crash(self, instance_id: str, exit_code: int = 1, *, out_of_memory: bool = False) -> None:
        """End a container as its own bug, or the kernel, would."""
        self._by_id[instance_id].end(exit_code, out_of_memory=out_of_memory)

    def deafen(self, instance_id: str) -> None:
        """Have a container accept no more, although it runs on."""
        self._by_id[instance_id].deafen()

    def say(self, instance_id: str, text: str) -> None:
        """Have a container print a line."""
        self._by_id[instance_id].say(text)

    def close(self) -> None:
        """End everything."""
        for container in list(self._by_id.values()):
            self.remove(container)

    def add(self, birth: Birth) -> Container:
        """Make a container that does not run yet."""
        container = Container(birth, self._happened)
        self._apps[birth.manifest.app_id][birth.id] = container
        self._by_id[birth.id] = container
        return container

    def find(self, instance_id: str) -> Container | None:
        """Return a container, None when it is gone."""
        return self._by_id.get(instance_id)

    def of(self, server: str, app_id: str | None = None) -> Iterator[Container]:
        """Return a server's containers, one-offs too."""
        found = self._by_id if app_id is None else self._apps.get(app_id, {})
        return (item for item in list(found.values()) if item.birth.server == server)

    def remove(self, container: Container) -> None:
        """Kill and forget a container; one that is gone already is fine."""
        if container.gone:
            return
        container.remove()
        app_id = container.birth.manifest.app_id
        del self._by_id[container.birth.id], self._apps[app_id][container.birth.id]
        if not self._apps[app_id]:
            del self._apps[app_id]
        self.restarts.pop(container.birth.id, None)
        self._happened(container, "destroy")

    @property
    def now(self) -> int:
        """The position of the next event."""
        return self._count

    def events_from(self, position: int) -> list[tuple[str, Event]]:
        """Return events from a position on, each with the server it is for.

        Raises:
            EngineError: some of them are forgotten.
        """
        behind = self._count - position
        if behind > len(self._events):
            raise EngineError("the engine's events broke off", transient=True)
        return [self._events[index] for index in range(len(self._events) - behind, len(self._events))]

    def _happened(self, container: Container, kind: Literal["start", "die", "oom", "destroy"]) -> None:
        birth = container.birth
        if birth.one_off:
            return
        code = container.exit_code if kind == "die" else None
        event = Event(birth.id, kind, datetime.now(UTC), code, birth.manifest.app_id)
        self._events.append((birth.server, event))
        self._count += 1
        self.pulse.beat()
