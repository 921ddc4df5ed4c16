"""Procfiles: `type: command` lines (Heroku's format), and how a command becomes arguments for exec.

Grammar of a type, as in the Cloud Native Buildpacks' Procfile reader: `[a-z0-9]([a-z0-9-]*[a-z0-9])?`, at most 63
characters; upper case and `_` are corrected with a warning. There are no inline comments: a `#` belongs to the shell.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from buildpacks.messages import note, refuse
from buildpacks.plan import Evidence, Note, Process
from buildpacks.shell import exec_line

TYPE_LIMIT = 64
_TYPE = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")
_LINE = re.compile(r"[ \t]*([A-Za-z0-9_-]+)[ \t]*:[ \t]*(.*)")
_LOOPBACK = re.compile(r"(?<![\w.])(127\.0\.0\.1|localhost|\[::1\])(?=:\d|:\$|\s|$)")
_BIND = re.compile(
    r"(?:--bind[= ]|--host(?:name)?[= ]|--addr(?:ess)?[= ]|--listen[= ]|\s-b[ =]?|\s-h[ =]|\s-H[ =])"
)
_PORT = re.compile(r"(?:--port[= ]|--http[= ]|\s-p[ =]?|:)(\d{2,5})(?=\s|$)")


@dataclass(frozen=True)
class Procfile:
    """A parsed Procfile. `release` is kept apart: it runs once before a release, not as a process of it."""

    path: str
    processes: tuple[Process, ...] = ()
    release: Process | None = None
    notes: tuple[Note, ...] = ()

    @property
    def web(self) -> Process | None:
        """The process that receives requests."""
        return next((process for process in self.processes if process.type == "web"), None)


def parse(text: str, path: str = "Procfile") -> Procfile:
    """Read a Procfile.

    Raises:
        PlanError: `procfile/bad-line` with the line's number, `procfile/too-many`.
    """
    found: dict[str, Process] = {}
    notes: list[Note] = []
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        process = _process(line.strip(), path, number, notes)
        if process is None:
            continue
        if process.type in found:
            notes.append(note("procfile/duplicate", path=path, line=number, type=process.type))
        found[process.type] = process
    if len(found) > TYPE_LIMIT:
        raise refuse("procfile/too-many", Evidence("procfile", path), limit=TYPE_LIMIT)
    return _sorted_out(path, found, notes)


def overlay(
    file: Procfile | None, processes: Mapping[str, str], places: Mapping[str, Evidence]
) -> Procfile | None:
    """A Procfile's processes with others put before them; the file itself where there are none."""
    if not processes:
        return file
    notes = [
        note for note in (file.notes if file else ()) if note.id not in {"procfile/empty", "procfile/no-web"}
    ]
    found = {process.type: process for process in (file.processes if file else ())}
    if file is not None and file.release is not None:
        found["release"] = file.release
    given = {name: shell_process(name, command, places[name]) for name, command in processes.items()}
    return _sorted_out(file.path if file else "cygni.toml", {**found, **given}, notes)


def _sorted_out(path: str, found: dict[str, Process], notes: list[Note]) -> Procfile:
    release = found.pop("release", None)
    if release is None and not found:
        notes.append(note("procfile/empty", path=path))
    elif found and "web" not in found:
        notes.append(note("procfile/no-web", path=path))
    for process in found.values():
        notes.extend(address_notes(process))
    return Procfile(path, tuple(found.values()), release, tuple(notes))


def _process(line: str, path: str, number: int, notes: list[Note]) -> Process | None:
    if not line or line.startswith("#"):
        return None
    source = Evidence("procfile", path, number)
    match = _LINE.fullmatch(line)
    # A control character could hide what runs from the person who reads it in a log.
    if match is None or not match[2] or not line.replace("\t", " ").isprintable():
        raise refuse("procfile/bad-line", source, line=number, path=path, text=line)
    given = match[1]
    kind = given.lower().replace("_", "-")
    if not _TYPE.fullmatch(kind):
        raise refuse("procfile/bad-line", source, line=number, path=path, text=line)
    if kind != given:
        notes.append(note("procfile/corrected", path=path, line=number, given=given, type=kind))
    return shell_process(kind, match[2], source)


def shell_process(kind: str, command: str, source: Evidence) -> Process:
    """A process that a shell starts; the shell replaces itself with the program where that is safe to say."""
    return Process(kind, command, ("/bin/sh", "-c", exec_line(command)), source)


def address_notes(process: Process) -> tuple[Note, ...]:
    """Warnings about an address or port that the router cannot reach; only `web` is asked for one."""
    if process.type != "web":
        return ()
    notes = []
    loopback = _LOOPBACK.search(process.command)
    if loopback and _BIND.search(process.command[: loopback.start()] + " "):
        notes.append(
            note("process/loopback", place=process.source.place, type=process.type, address=loopback[1])
        )
    port = _PORT.search(process.command)
    if port and "$PORT" not in process.command and "${PORT" not in process.command:
        notes.append(
            note("process/literal-port", place=process.source.place, type=process.type, port=port[1])
        )
    return tuple(notes)
