"""An app's own Dockerfile: checked, never trusted, otherwise built as it is."""

from buildpacks.dockerfile import check
from buildpacks.messages import refuse
from buildpacks.plan import Candidate, Evidence, Plan, PortRule, Process
from buildpacks.providers.base import Source


class OwnDockerfile:
    """A Dockerfile in the root, or where the app's settings say."""

    name = "dockerfile"
    looks_for = ("Dockerfile",)

    def detect(self, source: Source) -> Candidate | None:
        """The file that the settings name."""
        path = source.settings.dockerfile
        found = source.tree.read(source.real(path)) is not None
        return Candidate(self.name, 0, (Evidence("file", path),)) if found else None

    def plan(self, source: Source) -> Plan:
        """Check it; the image's own command is the web process unless the Procfile names processes."""
        path = source.settings.dockerfile
        text = source.text(path)
        if text is None:
            raise refuse("dockerfile/empty", Evidence("file", path), path=path)
        settings = source.settings
        checked = check(text, path, source.env_names, settings.stack.architecture, settings.build_args)
        web = Process("web", "", (), Evidence("CMD", path))
        return Plan(
            provider=self.name,
            steps=(),
            processes=(web,) if source.wants_web else (),
            port=PortRule(checked.exposed),
            notes=checked.notes,
            dockerfile=text,
            target=source.settings.target,
            build_args=source.settings.build_args,
        )
