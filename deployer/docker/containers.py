"""Containers as data: names, labels and limits on the way in, instances on the way out."""

import re
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from deployer.manifest import Manifest, Resources
from deployer.ports import Address, Exit, Instance, State

LABEL = "cygni."
ONE_OFF = "cygni.one-off"
RELEASE_PHASE, ATTACHED, DETACHED = "release-phase", "attached", "detached"
LOG_BYTES = "10m"
LOG_FILES = "3"
_NO_TIME = "0001-01-01T00:00:00Z"
_FRACTION = re.compile(r"\.(\d{1,6})\d*")
_ONE_OFFS: Mapping[str, Literal["attached", "detached"]] = {ATTACHED: "attached", DETACHED: "detached"}
_STATES: Mapping[str, State] = {"created": "starting", "running": "running", "restarting": "starting"}


def labels(server: str, manifest: Manifest, process: str, number: int, generation: int) -> dict[str, str]:
    """What identifies a container of ours."""
    return {
        "cygni.server": server,
        "cygni.app": manifest.app,
        "cygni.app-id": manifest.app_id,
        "cygni.release": str(manifest.release),
        "cygni.process": process,
        "cygni.number": str(number),
        "cygni.generation": str(generation),
        "cygni.port": str(manifest.port),
    }


def name(server: str, manifest: Manifest, process: str, number: int) -> str:
    """A container name that people recognise and that is never taken."""
    return f"cygni-{server}-{manifest.app}-v{manifest.release}-{process}-{number}-{secrets.token_hex(3)}"


def environment(manifest: Manifest) -> dict[str, str]:
    """Config, and what the platform adds."""
    return {
        **manifest.env,
        "PORT": str(manifest.port),
        "CYGNI_APP": manifest.app,
        "CYGNI_RELEASE": f"v{manifest.release}",
        "CYGNI_COMMIT": manifest.commit,
    }


def host_options(
    resources: Resources, parent: str | None = None, *, init: bool, logged: bool = True
) -> dict[str, Any]:
    """Limits and hardening, as the SDK's `create_host_config` takes them."""
    log = {"Type": "json-file", "Config": {"max-size": LOG_BYTES, "max-file": LOG_FILES}}
    return {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "pids_limit": resources.pids,
        "mem_limit": resources.memory_bytes,
        "memswap_limit": resources.memory_bytes,
        "cpu_shares": resources.cpu_shares,
        "nano_cpus": round(resources.cpus * 1e9) if resources.cpus else None,
        "init": init or None,
        "cgroup_parent": parent,
        "log_config": log if logged else {"Type": "none"},
    }


def instance(
    inspected: Mapping[str, Any], network: str, restarts: int, last_exit: Exit | None = None
) -> Instance:
    """A container's inspection as an instance; its address is what was assigned to it, running or not."""
    found, state = inspected["Config"]["Labels"], inspected["State"]
    process = found["cygni.process"]
    ended = state["Status"] not in _STATES
    return Instance(
        id=inspected["Id"],
        app_id=found["cygni.app-id"],
        app=found["cygni.app"],
        release=int(found["cygni.release"]),
        process=process,
        number=int(found["cygni.number"]),
        state=_STATES.get(state["Status"], "exited"),
        address=_address(inspected, network, int(found["cygni.port"]))
        if process == "web" and ONE_OFF not in found
        else None,
        started_at=moment(state["StartedAt"]),
        finished_at=moment(state["FinishedAt"]) if ended else None,
        exit_code=state["ExitCode"] if ended else None,
        out_of_memory=bool(state["OOMKilled"]),
        restarts=restarts,
        generation=int(found["cygni.generation"]),
        last_exit=last_exit,
        one_off=_ONE_OFFS.get(found.get(ONE_OFF, "")),
    )


def ending(inspected: Mapping[str, Any]) -> Exit | None:
    """How a container ended; None for one that runs."""
    state = inspected["State"]
    if state["Status"] in _STATES:
        return None
    return Exit(moment(state["FinishedAt"]), state["ExitCode"], bool(state["OOMKilled"]))


def static_address(inspected: Mapping[str, Any], network: str) -> str | None:
    """The address that was assigned on our network."""
    joined = inspected["NetworkSettings"]["Networks"].get(network)
    if joined is None:
        return None
    return (joined.get("IPAMConfig") or {}).get("IPv4Address") or joined["IPAddress"] or None


def _address(inspected: Mapping[str, Any], network: str, port: int) -> Address | None:
    host = static_address(inspected, network)
    return Address(host, port) if host else None


def moment(text: str) -> datetime | None:
    """The engine's time stamps have nanoseconds; Python's have microseconds."""
    if not text or text == _NO_TIME:
        return None
    return datetime.fromisoformat(_FRACTION.sub(r".\1", text)).astimezone(UTC)


def image(api: Any, image: str) -> dict[str, Any]:
    """The SDK's method has no annotations."""
    found: dict[str, Any] = api.inspect_image(image)
    return found
