"""The keys of `cygni.toml`: one table, from which the file is read, its schema is published and its page is written."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

Kind = Literal["text", "line", "flag", "texts", "table"]

_PATH = r"[A-Za-z0-9_][A-Za-z0-9_.@+-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.@+-]*)*"
_PACKAGE = r"[a-z0-9][a-z0-9.+-]+"


@dataclass(frozen=True)
class Key:
    """A key: its place in the file, what it sets of `BuildSettings`, and what it may hold.

    `text` and `texts` must match `pattern`; a `line` is a command: any printable text in one line. A `table` holds
    texts by names that match `names`.
    """

    name: str
    field: str
    kind: Kind
    meaning: str
    pattern: str = r".+"
    names: str = ""
    example: str = ""

    @property
    def table(self) -> str:
        """The table that it is in."""
        return self.name.partition(".")[0]


PROVIDERS = (
    "deno",
    "dockerfile",
    "dotnet",
    "elixir",
    "go",
    "java",
    "node",
    "php",
    "procfile",
    "python",
    "ruby",
    "rust",
    "static",
)
MANAGERS = ("bun", "npm", "pdm", "pip", "pipenv", "pnpm", "poetry", "uv", "yarn")

KEYS: tuple[Key, ...] = (
    Key("build.provider", "provider", "text", "The language or kind of app, instead of what is detected.", "|".join(PROVIDERS), example='"python"'),
    Key("build.package-manager", "package_manager", "text", "Which package manager installs, where several have left files.", "|".join(MANAGERS), example='"uv"'),
    Key("build.root", "root", "text", "The folder that holds the app, in a repository with several; nothing outside of it is built.", _PATH, example='"services/shop"'),
    Key("build.context", "context", "text", "`.` where the app in `build.root` is a member of the repository's JavaScript workspace: all of it is built from.", r"\.", example='"."'),
    Key("build.dockerfile", "dockerfile", "text", "Where the app's own Dockerfile is.", _PATH, example='"docker/Dockerfile.web"'),
    Key("build.target", "target", "text", "The stage of the app's own Dockerfile that becomes the image.", r"[A-Za-z0-9][A-Za-z0-9_.-]*", example='"production"'),
    Key("build.args", "build_args", "table", "Arguments of the app's own Dockerfile.", names=r"[A-Za-z_][A-Za-z0-9_]*", example='{ COMMIT = "none" }'),
    Key("build.procfile", "procfile", "text", "Where the Procfile is.", _PATH, example='"deploy/Procfile"'),
    Key("build.command", "build_command", "line", "What builds the app, instead of its build scripts. It sees the app's config.", example='"make site"'),
    Key("build.assets", "assets", "flag", "Whether a package.json with a build script beside another language is built, too.", example="false"),
    Key("build.gems", "gems", "text", "Where Ruby's gems come from: `rubygems`, or `debian` for packages listed in `packages.run`.", "rubygems|debian", example='"debian"'),
    Key("versions", "versions", "table", "Versions by runtime: `python`, `node`, `go`, `ruby`, `php`, `java`, `rust`, `elixir`, `dotnet`, `deno`.", r"[0-9A-Za-z.*<>=^~|, /-]+", "python|node|go|ruby|php|java|rust|elixir|dotnet|deno", '{ python = "3.13" }'),
    Key("packages.build", "build_packages", "texts", "Debian packages that the build needs.", _PACKAGE, example='["libxmlsec1-dev"]'),
    Key("packages.run", "run_packages", "texts", "Debian packages that the running app needs.", _PACKAGE, example='["ffmpeg"]'),
    Key("processes", "processes", "table", "Commands by process type, as in a Procfile; they go before its lines. `release` runs before a release.", names=r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", example='{ web = "gunicorn shop:app" }'),
)  # fmt: skip

BY_NAME: Mapping[str, Key] = MappingProxyType({key.name: key for key in KEYS})


def fits(key: Key, value: object) -> bool:
    """Whether a value is what a key may hold."""
    match key.kind:
        case "flag":
            return isinstance(value, bool)
        case "text":
            return isinstance(value, str) and re.fullmatch(key.pattern, value) is not None
        case "line":
            return isinstance(value, str) and value.strip() != "" and value.isprintable()
        case "texts":
            return isinstance(value, list) and all(
                isinstance(item, str) and re.fullmatch(key.pattern, item) for item in value
            )
        case _:
            return isinstance(value, dict) and all(_entry_fits(key, *item) for item in value.items())


def _entry_fits(key: Key, name: str, value: object) -> bool:
    if re.fullmatch(key.names, name) is None or not isinstance(value, str):
        return False
    return value.strip() != "" and value.isprintable() and re.fullmatch(key.pattern, value) is not None


def schema() -> dict[str, Any]:
    """The file's JSON Schema, for editors."""
    tables: dict[str, dict[str, Any]] = {}
    for key in KEYS:
        table, _, name = key.name.partition(".")
        described = {"description": key.meaning, **_shape(key)}
        if name:
            empty = {"type": "object", "additionalProperties": False, "properties": {}}
            tables.setdefault(table, empty)["properties"][name] = described
        else:
            tables[table] = described
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "cygni.toml",
        "type": "object",
        "additionalProperties": False,
        "properties": tables,
    }


def _shape(key: Key) -> dict[str, Any]:
    text = {"type": "string", "pattern": f"^(?:{key.pattern})$"}
    match key.kind:
        case "text":
            return text
        case "line":
            return {"type": "string", "minLength": 1}
        case "flag":
            return {"type": "boolean"}
        case "texts":
            return {"type": "array", "items": text}
        case _:
            names = {"pattern": f"^(?:{key.names})$"}
            return {"type": "object", "propertyNames": names, "additionalProperties": text}
