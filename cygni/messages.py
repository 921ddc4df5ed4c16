"""Every sentence the application says to people: what happened, why, what to do."""

from collections.abc import Sequence

from cygni.domain.models import App, Release, Role
from deployer.failures import RolloutFailedError


def _clock(seconds: int) -> str:
    return f"{seconds // 60}:{seconds % 60:02d}"


# Receiving a push


def push_waits_for(who: str) -> str:
    """What a push waits for when another one has the slot."""
    return f"Another push by {who} is being deployed"


def push_waits_for_upkeep() -> str:
    """What a push waits for when the repository is repacked."""
    return "The app's repository is being tidied"


def push_waiting(cause: str, seconds: int) -> str:
    """Told every few seconds to a push that waits for its turn."""
    return f"{cause} ({_clock(seconds)}). Yours is next."


def push_replaced() -> str:
    """Told to a waiting push when a newer one arrived."""
    return "A newer push to this app took your place in the queue. Nothing of this push was used."


def push_waited_too_long() -> str:
    """Told to a waiting push whose patience ended."""
    return "The push before yours has not ended in time. See `builds` and `builds:cancel`, then push again."


def no_such_app(name: str) -> str:
    """One text for an unknown app and for an app of others."""
    return f"There is no app {name} that you may use. Ask a server admin to create it or to give you access."


def bad_app_name(name: str) -> str:
    """The name breaks the grammar."""
    shown = "".join(c if c.isprintable() else "?" for c in name[:60])
    return (
        f"{shown!r} cannot be an app's name: it becomes a host name. "
        "Use 2 to 30 characters of a-z, 0-9 and '-', starting with a letter and not ending in '-'."
    )


def being_destroyed(app: str) -> str:
    """The app is on its way out."""
    return f"{app} is being destroyed. Wait until it is gone, or push to another name."


def disk_almost_full(free: int, reserve: int) -> str:
    """Too little space to accept objects or to build."""
    return (
        f"The server's disk is almost full: {free >> 20} MiB free, {reserve >> 20} MiB must stay. "
        "Nothing of this push was kept. An operator frees some space (`docker system df` shows images and caches); "
        "then push again."
    )


def wrong_branch(branch: str, deploy_branch: str, remote: str) -> str:
    """Only the deploy branch builds."""
    return (
        f"Only {deploy_branch} is deployed, so {branch} was not accepted. To deploy it:\n"
        f"  git push {remote} {branch}:{deploy_branch}"
    )


def delete_deploy_branch(branch: str, app: str) -> str:
    """The deploy branch cannot be deleted."""
    return f"{branch} is the branch that {app} runs, so it stays. To remove the app: apps:destroy -a {app} --confirm {app}"


def stale_push(branch: str, old: str, current: str) -> str:
    """The client's idea of the branch is not what it is."""
    return (
        f"Your push is based on {old[:7]}, but {branch} is now {current[:7]}. "
        "Run `git pull --rebase`, or `git push --force` to replace it."
    )


def unknown_push_option(option: str, known: Sequence[str]) -> str:
    """A typo in `-o` must not be ignored."""
    return f"There is no push option {option!r}. Known ones: {', '.join(known)}."


def detached(app: str) -> str:
    """The build begins when the push has ended."""
    return f"Detached: the build runs on the server. Follow it with: builds:output -a {app} -t"


def source_over_limit(what: str) -> str:
    """The pushed tree has more than the server takes."""
    return (
        f"The pushed source has {what}. Nothing was built.\n"
        "Remove what the app does not need (`git rm -r --cached ...`), commit, and push again."
    )


def disconnect_hint(app: str) -> str:
    """What Ctrl-C does."""
    return f"Ctrl-C detaches, the build goes on (builds:cancel -a {app} stops it)"


def push_rejected(app: str) -> str:
    """The last line of a push that did not go live."""
    return f"Push rejected to {app}."


# Building


def build_again(seconds: float) -> str:
    """A registry did not answer, and the build is tried again."""
    return f"A package registry did not answer; building again in {seconds:g} s"


def engine_down(reason: str, then: str = "push again") -> str:
    """Docker does not answer."""
    return (
        f"The container engine does not answer ({reason}). Nothing was changed and what runs goes on. "
        f"An operator starts it with `systemctl start docker`; then {then}."
    )


def engine_refused(reason: str) -> str:
    """The engine answers, and says no."""
    return f"The container engine refused: {reason.rstrip('.')}. Nothing was changed and what runs goes on."


def no_stack(reason: str) -> str:
    """The base images that every build starts from are missing."""
    return (
        f"{reason}\nBuilds start from them, so nothing was built and what runs goes on. "
        "An operator makes them with `cygni stack:build`; then push again."
    )


def build_failed(cause: str, reason: str, step: str) -> str:
    """What stopped the build, in a line or a few."""
    if cause == "exit":
        return f"A step of the build failed with {reason}: {step}"
    return reason[:1].upper() + reason[1:]


BUILD_ADVICE = {
    "exit": "Its output is above. Fix what it complains about, then push again.",
    "timeout": "Make the build finish sooner, or have an operator raise CYGNI_BUILD_TIMEOUT; then push again.",
    "log": "Output that does not end is taken for a mistake. Print less (`--quiet`, or into a file), then push again.",
    "context": "Remove what the app does not need from the repository, or name it in .dockerignore; then push again.",
    "syntax": "Fix the Dockerfile, then push again.",
    "cancelled": "Push again to build it after all.",
    "disk": "An operator frees some space (`docker system df` shows images and caches); then push again.",
}


def build_interrupted() -> str:
    """The control plane ended while it built."""
    return "the server stopped during this build"


def build_interrupted_text() -> str:
    """The same for the pusher."""
    return "The server stopped during this build. Nothing was changed; push again."


def build_cancelled() -> str:
    """Someone cancelled the build."""
    return "cancelled"


def build_cancelled_text() -> str:
    """The same for the pusher."""
    return "The build was cancelled. Nothing was changed."


# Releasing


def old_release_serves(version: int | None) -> str:
    """What the failure did not touch."""
    return f"v{version} goes on serving." if version else "No earlier release is running."


def release_interrupted() -> str:
    """The control plane ended before the swap."""
    return "the server stopped before this release went live"


def no_release(app: App) -> str:
    """A command needs a release."""
    return f"{app.name} has no release yet. Push to it first: git push cygni main"


def no_such_release(app: App, version: int) -> str:
    """The version does not exist."""
    return f"{app.name} has no release v{version}. `releases -a {app.name}` lists them."


def image_gone(version: int) -> str:
    """The image of an old release was collected."""
    return f"The image of v{version} is no longer on this server. Push its commit again instead."


def commit_gone(release: Release) -> str:
    """A missing image cannot be built again, because its push was cut off after the swap."""
    return f"The image of v{release.version} is missing, and so is its commit {release.commit[:7]}: push that commit again."


def rebuild_failed(release: Release, why: str) -> str:
    """A missing image could not be built again; a line in the app's log."""
    return f"The image of v{release.version} is missing and could not be built again: {why}. Push again, or restart the server."


def cannot_roll_back(version: int) -> str:
    """The target never ran."""
    return f"v{version} never went live, so there is nothing to go back to. Choose a release marked retired."


# Commands


def needs_server_admin() -> str:
    """The command is for server admins."""
    return "This needs a server admin. On the server's own shell, `cygni` commands run as one."


def needs_role(app: str, role: Role, has: Role | None) -> str:
    """The person's role is too small."""
    yours = f"; you are {has}" if has else ""
    return f"This needs the role {role} on {app}{yours}. An admin of {app} can run `access:add`."


def app_locked(app: str, who: str) -> str:
    """Changes are forbidden for now."""
    return f"{app} is locked by {who}. What runs goes on; to allow changes again: apps:unlock -a {app}"


def too_many_commands(seconds: float) -> str:
    """The person's rate of commands is over the limit."""
    return f"Too many commands from you. Try again in {max(1, round(seconds))} s."


def no_such_process(name: str, known: Sequence[str]) -> str:
    """Scaling or logging a type that the release has not."""
    return f"There is no process type {name}. This release has: {', '.join(known) or 'none'}."


def no_such_build(app: str, number: int) -> str:
    """Unknown build number."""
    return f"{app} has no build {number}. `builds -a {app}` lists them."


def unexpected() -> str:
    """Our fault; details are in the server's log only."""
    return "Something went wrong on the server. The operator finds the cause in its log."


def nothing_to_roll_back(app: App) -> str:
    """Only one release was ever live."""
    return f"{app.name} has no earlier release to go back to."


def no_builds(app: str) -> str:
    """Nothing was pushed yet."""
    return f"{app} has no builds yet. Push to it first: git push cygni main"


def build_has_ended(app: str, number: int, status: str) -> str:
    """Cancelling too late."""
    return f"Build {number} of {app} is not running any more ({status})."


def needs_running_server(data: str) -> str:
    """The command needs more than the store."""
    return f"No server runs on {data}, and this command needs it. Start it with `cygni serve`."


def restore_unfinished(data: str) -> str:
    """A server must not make a new state where half of another one is."""
    return (
        f"A restore into {data} was interrupted. Run `cygni restore` with the same backup again: it goes on."
    )


def database_moved(file: str) -> str:
    """`cygni db:move` was run, and the setting forgotten."""
    return f"{file} was moved to PostgreSQL. Set CYGNI_DATABASE_URL to where it is now."


def database_missing(file: str) -> str:
    """A new database would know none of the repositories that are there."""
    return (
        f"{file} is missing, but its repositories are there. Put it back, or move the state directory away and "
        "restore a backup: cygni restore DIR (docs/backup.md). Nothing was changed."
    )


def nothing_to_move() -> str:
    """Only SQLite is moved."""
    return "CYGNI_DATABASE_URL names PostgreSQL already. db:move moves the SQLite database of CYGNI_DATA."


def stop_first(data: str) -> str:
    """A move is for a database at rest."""
    return f"A server is running on {data}. Stop it first: systemctl stop cygni"


def moved(file: str) -> str:
    """The last line of a move."""
    return f"Moved. Set CYGNI_DATABASE_URL to the new database, then start the server. The old one is {file}.moved."


def already_serving(data: str) -> str:
    """Two servers on one state directory."""
    return f"Another server already uses {data}. Stop it first, or set CYGNI_DATA to another directory."


def config_stays(app: App) -> str:
    """A config change whose release did not come up."""
    return (
        "The config vars stay set for the next release. "
        f"Correct them with config:set or config:unset -a {app.name}; `releases -a {app.name}` shows what runs."
    )


ADVICE = {
    "release-failed": "Fix the release command (Procfile line `release:`), then push again.",
    "exited": "Look at its output, then fix the command in the Procfile or the config it misses.",
    "never-bound": "A web process must listen on 0.0.0.0 and the port in $PORT. "
    "A slow start may need more time: health:set -a {app} boot-timeout=120",
    "bound-to-loopback": "Listen on 0.0.0.0 instead of 127.0.0.1 or localhost, so that the router reaches it.",
    "wrong-port": "Listen on the port in $PORT, which the platform sets; do not choose one.",
    "unhealthy": "Make the health path answer 2xx or 3xx, or change it: health:set -a {app} path=/…",
    "out-of-memory": "It needs more memory than its limit. Use less at start, for example fewer server workers.",
    "engine": "The container engine had a problem. Trying again may help; "
    "if not, an operator looks at `systemctl status docker` and the server's log.",
    "timeout": "Make it finish sooner, then push again.",
}


def _rollout_report(app: App, error: RolloutFailedError) -> list[str]:
    lines = [str(error)]
    if error.last_probe:
        lines.append(f"Last probe: {error.last_probe}")
    lines.append(ADVICE[error.cause].format(app=app.name))
    if error.tail:
        lines.append(f"Last output of {error.instance or app.name}:")
        lines += [f"  {line.text}" for line in error.tail]
    return lines


def release_failed(app: App, release: Release, error: RolloutFailedError, serving: int | None) -> str:
    """A release that did not come up: phase, cause, advice, output, and what goes on serving."""
    lines = [f"Release v{release.version} failed in the {PHASES[error.phase]}.", *_rollout_report(app, error)]
    return "\n".join([*lines, old_release_serves(serving)])


PHASES = {
    "release": "release phase",
    "start": "start of its processes",
    "boot": "boot of its processes",
    "commit": "swap",
}


def scale_failed(app: App, error: RolloutFailedError) -> str:
    """New instances did not come up."""
    return "\n".join([f"Scaling {app.name} failed; as many run as before.", *_rollout_report(app, error)])


def restart_failed(app: App, error: RolloutFailedError) -> str:
    """Fresh instances did not come up."""
    return "\n".join([f"Restarting {app.name} failed; what ran goes on.", *_rollout_report(app, error)])


def cancelled_by(who: str) -> str:
    """Shown to everyone who follows the build."""
    return f"Cancelled by {who}."


def bad_certificate(reason: str) -> str:
    """certs:add of something a browser would not take."""
    return f"This certificate cannot be used: {reason}."


def router_is_late() -> str:
    """A change was kept, but the router has not confirmed it."""
    return "The change is kept, but the router has not confirmed it in time; it takes it as soon as it can."
