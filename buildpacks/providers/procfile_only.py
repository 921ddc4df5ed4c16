"""A Procfile and no language: its commands run in the stack's run image, beside the source."""

from buildpacks.plan import Candidate, Copy, Evidence, Plan, Step
from buildpacks.providers.base import APP, Source


class ProcfileOnly:
    """Scripts and ready-made programs."""

    name = "procfile"
    looks_for = ("Procfile",)

    def detect(self, source: Source) -> Candidate | None:
        """A Procfile."""
        path = source.settings.procfile
        return Candidate(self.name, 70, (Evidence("file", path),)) if source.has(path) else None

    def plan(self, source: Source) -> Plan:
        """Copy the source; the planner adds the Procfile's processes."""
        del source
        return Plan(self.name, (Step("image", "run", (Copy((".",), APP, owned=True),)),), ())
