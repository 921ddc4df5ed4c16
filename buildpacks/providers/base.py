"""What a provider is given and what it has to answer."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from buildpacks import procfile
from buildpacks.messages import refuse
from buildpacks.plan import BuildSettings, Candidate, Evidence, Plan
from buildpacks.ports import Tree
from buildpacks.procfile import Procfile
from buildpacks.walk import Links, follow_link

APP = "/app"
"""Where an app's source is, in the build and in the image."""

BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Source:
    """A tree with the settings it is built under. Reads what is asked for and no more."""

    tree: Tree
    settings: BuildSettings
    env_names: frozenset[str] = frozenset()

    @cached_property
    def root(self) -> frozenset[str]:
        """Names of the regular files in the root."""
        return frozenset(self.tree.files("*"))

    def has(self, name: str) -> bool:
        """Whether the root has this file, or a link to a file of the tree under this name."""
        return name in self.root or self.real(name) != name

    def exists(self, path: str) -> bool:
        """Whether the tree has this regular file, perhaps through a link; `path` holds no `*` or `?`."""
        return bool(self.tree.files(self.real(path)))

    def real(self, path: str) -> str:
        """Where a link leads inside the tree; the path itself when it is none."""
        return follow_link(self.tree, path) if isinstance(self.tree, Links) else path

    def text(self, path: str, limit: int = 1 << 20) -> str | None:
        """A text file's content without a byte order mark, None when there is none; links inside the tree are followed.

        Raises:
            PlanError: `tree/not-utf8`.
            TreeLimitError: it is too large to be what its name says.
        """
        data = self.tree.read(self.real(path), limit)
        if data is None:
            return None
        try:
            return data.decode().removeprefix("\ufeff")
        except UnicodeDecodeError as error:
            raise refuse("tree/not-utf8", Evidence("text", path), path=path, position=error.start) from None

    @cached_property
    def procfile(self) -> Procfile | None:
        """The app's Procfile with the processes of `cygni.toml`, which go before its lines; None without either.

        Raises:
            PlanError: it has a line that is none.
        """
        path = f"{self.settings.member}/{self.settings.procfile}".lstrip("/")
        text = self.text(path)
        file = None if text is None else procfile.parse(text, path)
        places = {name: self.settings.origin(f"processes.{name}") for name in self.settings.processes}
        return procfile.overlay(file, self.settings.processes, places)

    @property
    def wants_web(self) -> bool:
        """Whether a web process may be inferred: only when the Procfile names no process type at all."""
        return self.procfile is None or not self.procfile.processes


class Provider(Protocol):
    """A language or kind of app. Pure: it reads through the tree, and has no clock, network or child processes."""

    @property
    def name(self) -> str:
        """What people and records call it."""
        ...

    @property
    def looks_for(self) -> tuple[str, ...]:
        """The files that make it a candidate, for the message that lists them."""
        ...

    def detect(self, source: Source) -> Candidate | None:
        """Say whether the tree can be its, and why; None when nothing speaks for it."""
        ...

    def plan(self, source: Source) -> Plan:
        """Plan the build; the Procfile's processes are joined by the planner.

        Raises:
            PlanError: it cannot be built, with the reason.
        """
        ...
