"""`RUN --mount=…`: reading its fields, and giving every cache an id that belongs to one app."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

_FIELD = re.compile(r"[A-Za-z-]+(?:=.*)?", re.DOTALL)
_KINDS = frozenset({"bind", "cache", "tmpfs", "secret", "ssh"})
_PLAIN_ID = re.compile(r"[^\s,'\"\\`]*")


class MountError(ValueError):
    """A mount cannot be read, or not without doubt."""


@dataclass(frozen=True)
class Mount:
    """The fields of one mount, names in lower case, in their order."""

    fields: Mapping[str, str | None]

    @property
    def kind(self) -> str:
        """`bind` unless stated."""
        return self.fields.get("type") or "bind"

    @property
    def image(self) -> str | None:
        """What `from=` names: a stage or an image."""
        return self.fields.get("from")

    def with_cache_id(self, prefix: str) -> "Mount":
        """The same mount, its cache's id under the app's prefix."""
        return Mount({**self.fields, "id": f"{prefix}-own-{self.fields.get('id') or self.target}"})

    @property
    def target(self) -> str:
        """Where it is mounted, empty where it does not say."""
        return self._first("target", "dst", "destination")

    def with_secret_id(self, known: str, actual: str) -> "Mount":
        """The same mount; where it mounts the secret that Dockerfiles know as `known`, that under its actual id."""
        if (self._first("source", "src", "id") or self.target.rpartition("/")[2]) != known:
            return self
        fields = {name: value for name, value in self.fields.items() if name not in {"source", "src", "id"}}
        target = {} if self.target else {"target": f"/run/secrets/{known}"}
        return Mount({**fields, "id": actual, **target})

    def _first(self, *names: str) -> str:
        return next((value for name in names if (value := self.fields.get(name))), "")

    @property
    def flag(self) -> str:
        """As a flag of RUN."""
        return "--mount=" + ",".join(
            name if value is None else f"{name}={value}" for name, value in self.fields.items()
        )


def parse_mount(value: str) -> Mount:
    """Read the part after `--mount=`, which has no quotes or escapes.

    Raises:
        MountError: a field is malformed, repeated, or decides over the mount's kind by a variable.
    """
    fields: dict[str, str | None] = {}
    for field in value.split(","):
        if not _FIELD.fullmatch(field):
            raise MountError(f"the field {field!r} is malformed")
        name, equals, content = field.partition("=")
        if name.lower() in fields:
            raise MountError(f"the field {name.lower()} is there twice")
        fields[name.lower()] = content if equals else None
    mount = Mount(fields)
    if mount.kind not in _KINDS:
        raise MountError(f"the type {mount.kind!r} is unknown")
    if mount.kind == "cache" and not _PLAIN_ID.fullmatch(f"{fields.get('id')}{fields.get('target')}"):
        raise MountError("the cache's id holds quotes or blanks")
    return mount
