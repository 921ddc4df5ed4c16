"""Build settings in files of the repository.

What counts, the first that says something: the app's settings on the server; `cygni.toml`; `project.toml`, `app.json`
and `Aptfile`, where they mean the same. Lists of packages are joined. Each setting keeps the file and line it is from.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from buildpacks.documents import Document, lines_of, read_json, read_toml
from buildpacks.messages import note, refuse
from buildpacks.plan import BuildSettings, Evidence, Note
from buildpacks.providers.base import Source
from buildpacks.settings_keys import BY_NAME, KEYS, PROVIDERS, Key, fits
from buildpacks.subtree import SubTree

NAME = "cygni.toml"
_DEFAULTS = BuildSettings()
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")
_HEROKU = re.compile(
    r"(?:^|[/-])(?:buildpack-)?(" + "|".join(PROVIDERS) + r"|nodejs|gradle|maven|jvm)(?:\.git|\.tgz|[-@#]|$)"
)
_SAME = {"nodejs": "node", "gradle": "java", "maven": "java", "jvm": "java"}


@dataclass(frozen=True)
class _Found:
    """A value from a file."""

    key: Key
    value: object
    place: Evidence


def with_repository(source: Source) -> tuple[Source, tuple[Note, ...]]:
    """The same source under the settings that its files add, in the folder that they name.

    Raises:
        PlanError: a settings file cannot be read, or holds what is not known.
    """
    settings, notes = _merged(source)
    tree = source.tree
    if settings.root:
        if not any(True for _ in SubTree(tree, settings.root).entries()):
            place = settings.origin("build.root")
            raise refuse("settings/no-root", place, root=settings.root, place=place.place)
        below = SubTree(tree, settings.root)
        tree = tree if settings.context else below
        inner = Source(below, replace(settings, root=""), source.env_names)
        if inner.has(NAME):
            deeper, more = _merged(inner)
            settings, notes = replace(deeper, root=settings.root), (*notes, *more)
    return Source(tree, settings, source.env_names), notes


def _merged(source: Source) -> tuple[BuildSettings, tuple[Note, ...]]:
    notes: list[Note] = []
    readers = (_own_file, _project_toml, _app_json, lambda given: _aptfile(given, notes))
    settings = source.settings
    for reader in readers:
        for found in reader(source):
            settings = _joined(settings, found)
    return settings, tuple(notes)


def _joined(settings: BuildSettings, found: _Found) -> BuildSettings:
    """Add a value that nothing before it has set."""
    key, current = found.key, getattr(settings, found.key.field)
    origins = dict(settings.origins)
    if key.kind == "texts":
        assert isinstance(found.value, list)
        value: Any = (*current, *(item for item in found.value if item not in current))
        origins.update({f"{key.name}.{item}": found.place for item in found.value if item not in current})
    elif key.kind == "table":
        assert isinstance(found.value, dict)
        value = {**found.value, **current}
        origins.update({f"{key.name}.{name}": found.place for name in found.value if name not in current})
    elif current != getattr(_DEFAULTS, key.field):
        return settings
    else:
        value = found.value
        origins[key.name] = found.place
    changed: dict[str, Any] = {key.field: value, "origins": origins}
    return replace(settings, **changed)


def _own_file(source: Source) -> Iterator[_Found]:
    document = read_toml(source, NAME)
    for name, value in document.data.items():
        key = BY_NAME.get(name)
        if key is not None:
            for entry, found in _entries(document, key, value):
                yield _Found(key, {entry: found}, document.place(entry, name))
            continue
        inner = value if isinstance(value, dict) else None
        if inner is None or not any(each.table == name for each in KEYS):
            raise _unknown(document, name)
        for word, entry in inner.items():
            yield _known(document, f"{name}.{word}", word, entry)


def _entries(document: Document, key: Key, value: object) -> Iterator[tuple[str, str]]:
    if not fits(key, value) or not isinstance(value, dict):
        raise _unfit(document, key, key.name, value)
    yield from value.items()


def _known(document: Document, name: str, word: str, value: object) -> _Found:
    key = BY_NAME.get(name)
    if key is None:
        raise _unknown(document, name)
    if not fits(key, value):
        raise _unfit(document, key, word, value)
    return _Found(key, value, document.place(word, name))


def _unknown(document: Document, name: str) -> Exception:
    place = document.place(name.rpartition(".")[2], "key")
    known = ", ".join(key.name for key in KEYS)
    return refuse("settings/unknown-key", place, name=name, place=place.place, known=known)


def _unfit(document: Document, key: Key, word: str, value: object) -> Exception:
    place = document.place(word.rpartition(".")[2], "value")
    shown = json.dumps(value, default=str)
    facts = {"name": key.name, "place": place.place, "value": shown, "example": key.example}
    return refuse("settings/invalid-value", place, **facts, meaning=key.meaning)


def _project_toml(source: Source) -> Iterator[_Found]:
    """Cloud Native Buildpacks' descriptor: Heroku's Debian packages, and one buildpack by name."""
    document = read_toml(source, "project.toml")
    packages = [
        name
        for name in document.texts("com", "heroku", "buildpacks", "deb-packages", "install")
        if _PACKAGE.fullmatch(name)
    ]
    if packages:
        place = document.place("install", "packages")
        yield _Found(BY_NAME["packages.run"], packages, place)
        yield _Found(BY_NAME["packages.build"], packages, place)
    groups = document.table("io", "buildpacks").get("group")
    names = [item.get("id") for item in groups if isinstance(item, dict)] if isinstance(groups, list) else []
    yield from _provider(document, [name for name in names if isinstance(name, str)], "group")


def _app_json(source: Source) -> Iterator[_Found]:
    """Heroku's app.json: the buildpack, when it names one."""
    document = read_json(source, "app.json")
    listed = document.data.get("buildpacks")
    items = listed if isinstance(listed, list) else []
    names = [item.get("url") if isinstance(item, dict) else item for item in items]
    yield from _provider(document, [name for name in names if isinstance(name, str)], "buildpacks")


def _provider(document: Document, names: list[str], word: str) -> Iterator[_Found]:
    """The provider that the only language among these buildpacks stands for; the last one runs the app on Heroku."""
    known = [_SAME.get(match[1], match[1]) for name in names if (match := _HEROKU.search(name))]
    if known:
        yield _Found(BY_NAME["build.provider"], known[-1], document.place(f'"{word}"', word))


def _aptfile(source: Source, notes: list[Note]) -> Iterator[_Found]:
    """Heroku's Aptfile: a package a line; repositories and downloads are not for a build that anybody can push."""
    for number, line in lines_of(source.text("Aptfile") or ""):
        place = Evidence("Aptfile", "Aptfile", number)
        if _PACKAGE.fullmatch(line):
            yield _Found(BY_NAME["packages.run"], [line], place)
            yield _Found(BY_NAME["packages.build"], [line], place)
        else:
            notes.append(note("aptfile/ignored", line=number, text=line))


def described(settings: BuildSettings) -> tuple[tuple[str, str, Evidence], ...]:
    """Every setting that was set, with its value as text and where it is from."""
    rows: list[tuple[str, str, Evidence]] = []
    for key in KEYS:
        value = getattr(settings, key.field)
        if key.kind in {"texts", "table"}:
            items: Mapping[str, str] = value if key.kind == "table" else dict.fromkeys(value, "")
            rows += [
                (
                    f"{key.name}.{name}" if text else key.name,
                    text or name,
                    settings.origin(f"{key.name}.{name}"),
                )
                for name, text in items.items()
            ]
        elif value != getattr(_DEFAULTS, key.field):
            rows.append(
                (
                    key.name,
                    str(value).lower() if key.kind == "flag" else str(value),
                    settings.origin(key.name),
                )
            )
    return tuple(rows)
