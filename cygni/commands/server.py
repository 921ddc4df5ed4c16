"""status, doctor: the server itself."""

import shutil
import stat
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

from cygni.commands.context import Context
from cygni.commands.registry import Access, Flag, registry
from cygni.domain.models import Lane
from deployer.ports import EngineError

MEBIBYTE = 1 << 20
OK, WARN, FAIL = "ok", "warning", "problem"

Finding = tuple[str, str]
"""How bad it is, and the sentence."""


@registry.command("status", access=Access.EVERYONE, examples=("status", "status --json"))
async def status(context: Context, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """Show the server's state: engine, disk, what is being built and rolled out of the apps you may see."""
    store = context.services.store
    apps = await store.apps.visible_to(context.user)
    live = [app for app in apps if await store.releases.live(app.id)]
    building = [app.name for app in apps if await store.jobs.running(app.id, Lane.BUILD)]
    deploying = [app.name for app in apps if await store.jobs.running(app.id, Lane.DEPLOY)]
    facts: dict[str, object] = {
        "version": version("cygni"),
        "domain": context.services.settings.domain,
        "engine": (await _engine(context))[0],
        "disk_free_bytes": context.services.disk.free,
        "apps": len(apps),
        "live": len(live),
        "building": building,
        "deploying": deploying,
    }
    if json:
        await context.print_json(facts)
        return
    shown = {
        **facts,
        "disk_free_bytes": f"{context.services.disk.free // MEBIBYTE} MiB",
        "building": ", ".join(building) or "-",
        "deploying": ", ".join(deploying) or "-",
    }
    await context.print_facts(
        "Server", [(name.removesuffix("_bytes"), str(value)) for name, value in shown.items()]
    )


async def _engine(context: Context) -> Finding:
    try:
        await context.services.engine.check()
    except EngineError as error:
        return FAIL, f"the container engine does not answer ({error}); start it: systemctl start docker"
    return OK, "the container engine answers"


@registry.command("doctor", offline=True, access=Access.SERVER_ADMIN, examples=("doctor", "doctor --json"))
async def doctor(context: Context, *, json: Annotated[bool, Flag("print JSON")] = False) -> int:
    """Check what a server needs, and say what to do about what is missing; exit code 1 for a problem."""
    findings = {name: await check(context) for name, check in CHECKS.items()}
    if json:
        await context.print_json(
            [{"check": name, "state": state, "text": text} for name, (state, text) in findings.items()]
        )
    else:
        await context.print_table(
            ("CHECK", "STATE", "WHAT"), [(name, state, text) for name, (state, text) in findings.items()]
        )
    return 1 if any(state == FAIL for state, _ in findings.values()) else 0


async def _disk(context: Context) -> Finding:
    free, reserve = context.services.disk.free, context.services.settings.disk_reserve
    text = f"{free // MEBIBYTE} MiB free, {reserve // MEBIBYTE} MiB must stay"
    if free < reserve:
        return FAIL, f"{text}: pushes are refused; free some space (`docker system df`)"
    return (WARN, f"{text}: pushes will soon be refused") if free < 2 * reserve else (OK, text)


async def _secret_key(context: Context) -> Finding:
    path = context.services.settings.data / "secret.key"
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        return FAIL, f"others can read {path.name}: chmod 600 it"
    return OK, "the key of config values is readable by its owner only; keep a copy off this machine"


async def _admins(context: Context) -> Finding:
    store = context.services.store
    admins = {user.id for user in await store.users.list() if user.admin}
    count = sum(key.user_id in admins for key in await store.keys.list())
    if not count:
        return FAIL, "no server admin has a key: cygni keys:add NAME --admin < key.pub"
    if count == 1:
        return WARN, "one key of a server admin: if it is lost, only the server's own shell helps"
    return OK, f"{count} keys of server admins"


async def _git(context: Context) -> Finding:
    del context
    return (OK, "git is there") if shutil.which("git") else (FAIL, "git is missing: install it")


async def _domain(context: Context) -> Finding:
    settings = context.services.settings
    if settings.domain == "localhost" and settings.bind != "127.0.0.1":
        return WARN, "CYGNI_DOMAIN is localhost: apps answer to programs on this machine only"
    return OK, f"apps answer at APP.{settings.domain}; that name needs a wildcard DNS record"


async def _certificates(context: Context) -> Finding:
    missing = [path for path in context.services.settings.extra_ca or () if not Path(path).exists()]
    if missing:
        return FAIL, f"CYGNI_EXTRA_CA names {len(missing)} files that are not there"
    return OK, "certificates are there"


CHECKS: dict[str, Callable[[Context], Awaitable[Finding]]] = {
    "engine": _engine,
    "disk": _disk,
    "secret key": _secret_key,
    "server admins": _admins,
    "git": _git,
    "domain": _domain,
    "certificates": _certificates,
}
