"""What `--json` prints, by command: documented in the reference, and held by a test over SSH."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class Schema:
    """`list`, `lines` and `object`: of these fields; `names`: a list of strings; `map`: names to values."""

    shape: Literal["list", "lines", "object", "names", "map"]
    fields: Mapping[str, str] = field(default_factory=dict)
    says: str = ""
    """What a `names` or a `map` holds."""

    def describe(self) -> list[str]:
        """Lines for the reference."""
        if self.shape in {"names", "map"}:
            return [f"`--json`: {self.says}."]
        what = {"list": "a list of objects", "lines": "an object a line,"}.get(self.shape, "an object")
        return [f"`--json`: {what} with", "", *(f"- `{name}`: {text}" for name, text in self.fields.items())]


_TIME = "time as in RFC 3339"
_APP = {
    "name": "string",
    "url": "string",
    "release": "number of the live release, or null",
    "locked_by": "user, or null",
    "created_at": _TIME,
}
_BUILD = {
    "number": "number",
    "status": "`queued`, `running`, `succeeded`, `failed`, `cancelled`, `superseded` or `interrupted`",
    "commit": "40 hexadecimal digits",
    "ref": "`refs/heads/…`",
    "author": "user",
    "provider": "`python`, `node`, …, or null",
    "image": "image id, or null",
    "failure": "one line, or null",
    "failure_id": "`python/bad-version`, …, or null",
    "created_at": _TIME,
    "started_at": f"{_TIME}, or null",
    "finished_at": f"{_TIME}, or null",
}
_RELEASE = {
    "version": "number",
    "status": "`pending`, `live`, `retired` or `failed`",
    "reason": "string",
    "author": "user, or several with `, ` between",
    "commit": "40 hexadecimal digits",
    "image": "image id",
    "processes": "object: process type to list of arguments",
    "config": "list of names, never values",
    "failure": "one line, or null",
    "created_at": _TIME,
}

SCHEMAS: Mapping[str, Schema] = {
    "access": Schema("list", {"user": "user", "role": "`viewer`, `deployer`, `admin` or `owner`"}),
    "apps": Schema("list", _APP),
    "apps:info": Schema(
        "object",
        _APP
        | {
            "commit": "40 hexadecimal digits, or null",
            "deploy_branch": "branch, or null",
            "formation": "object: process type to number",
            "health_path": "path, or null",
            "owners": "list of users",
        },
    ),
    "builds": Schema("list", _BUILD),
    "builds:info": Schema("object", _BUILD),
    "builds:explain": Schema(
        "map", says="as `build:explain PATH --json`: `provider`, `candidates`, `picks`, …"
    ),
    "config": Schema("map", says="an object: name to value"),
    "config:export": Schema("map", says="an object: name to value"),
    "config:keys": Schema("names", says="a list of names"),
    "doctor": Schema("list", {"check": "string", "state": "`ok`, `warning` or `problem`", "text": "string"}),
    "events": Schema(
        "list",
        {
            "seq": "number, never given out twice",
            "at": _TIME,
            "who": "user",
            "action": "command, or `push`, `receive-pack`, `upload-pack`",
            "app": "the app's name then, or null",
            "result": "`done`, `failed`, `refused`, `client left`, or null: unfinished",
            "from": "address, or null: the server's own shell",
            "about": "string, never a config value",
        },
    ),
    "health": Schema(
        "object", {"path": "path, or null", "boot-timeout": "seconds", "probe-timeout": "seconds"}
    ),
    "keys": Schema(
        "list",
        {
            "user": "user",
            "name": "string",
            "fingerprint": "`SHA256:…`",
            "created_at": _TIME,
            "last_used_at": f"{_TIME}, or null",
        },
    ),
    "limits": Schema("list", {"type": "process type", "memory_bytes": "number", "cpus": "number, or null"}),
    "logs": Schema(
        "lines",
        {"at": _TIME, "source": "`app` or `cygni`", "process": "`web.1`, `router`, …", "text": "string"},
    ),
    "ps": Schema(
        "list",
        {
            "name": "`web.1`",
            "type": "process type",
            "release": "number",
            "state": "`starting`, `running`, `stopping` or `exited`",
            "since": f"{_TIME}, or null",
            "restarts": "number since it was first started",
            "exit_code": "number, or null",
            "out_of_memory": "true or false",
            "last_exit": "why it was restarted the last time, or null",
            "memory_bytes": "number, or null",
            "memory_limit": "number, or null",
            "cpus": "processors used now, or null",
        },
    ),
    "ps:scale": Schema("map", says="an object: process type to number"),
    "releases": Schema("list", _RELEASE),
    "releases:info": Schema("object", _RELEASE),
    "releases:diff": Schema(
        "object",
        {
            "from": "number",
            "to": "number",
            "commit": "list of two, or null: the same",
            "image": "list of two, or null: the same",
            "processes_added": "list of process types",
            "processes_removed": "list of process types",
            "processes_changed": "list of process types",
            "config_added": "list of names",
            "config_removed": "list of names",
            "config_changed": "list of names",
        },
    ),
    "run:list": Schema(
        "list",
        {
            "name": "`run.1`",
            "release": "number",
            "kind": "`attached` or `detached`",
            "state": "`starting`, `running`, `stopping` or `exited`",
            "since": f"{_TIME}, or null",
            "exit_code": "number, or null",
        },
    ),
    "status": Schema(
        "object",
        {
            "version": "string",
            "domain": "string",
            "engine": "`ok` or `problem`",
            "disk_free_bytes": "number",
            "apps": "number of apps you may see",
            "live": "number of those with a live release",
            "building": "list of apps",
            "deploying": "list of apps",
        },
    ),
    "certs": Schema("list", {"name": "string", "hosts": "list of hosts", "expires_at": _TIME}),
    "users": Schema(
        "list",
        {"name": "user", "admin": "true or false", "keys": "number", "last_used_at": f"{_TIME}, or null"},
    ),
    "version": Schema("object", {"version": "string"}),
}
