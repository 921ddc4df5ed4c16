"""Every sentence of the commands themselves; what use cases say is in `cygni/messages.py`."""

from collections.abc import Iterable, Sequence

from cygni.domain.models import Role


def same_name(name: str) -> str:
    """apps:rename to what it is."""
    return f"The app is named {name} already."


def not_locked(app: str) -> str:
    """apps:unlock of nothing."""
    return f"{app} is not locked."


def confirm_question(app: str) -> str:
    """Asked on a terminal before something destructive."""
    return f"This removes {app} with its releases, logs and repository for good.\nType {app} to go on: "


def no_such_role(role: str) -> str:
    """access:add with a role that is none."""
    return f"There is no role {role}. Roles: {', '.join(Role)}."


def has_no_role(user: str, app: str) -> str:
    """access:remove of nothing."""
    return f"{user} has no role on {app}. `access -a {app}` lists who has."


def nothing_to_set() -> str:
    """config:set of nothing."""
    return "Nothing to set. Usage: config:set -a APP NAME=VALUE…"


def nothing_to_unset() -> str:
    """config:unset of nothing."""
    return "Nothing to unset. Usage: config:unset -a APP NAME…"


def nul_in_value(name: str) -> str:
    """An environment cannot hold it."""
    return f"The value of {name} holds a NUL byte, which no environment variable can. Encode it, for example as base64."


def value_too_long(name: str, most: int) -> str:
    """One config var is too long."""
    return f"The value of {name} is longer than {most:,} bytes. Put it into a file of the image or a service."


def config_too_big(size: int, most: int) -> str:
    """All config vars of an app together are too long."""
    return f"All config vars of an app may have {most:,} bytes together; these would have {size:,}."


def config_changed(app: str) -> str:
    """Two people edited at once."""
    return f"Somebody changed the config of {app} meanwhile, so nothing was changed. Run config:edit again."


def input_too_long(most: int) -> str:
    """More on standard input than is read."""
    return f"Standard input may have {most:,} bytes."


def not_text() -> str:
    """Binary input where text is expected."""
    return "Standard input is no UTF-8 text."


def no_input(usage: str) -> str:
    """Nothing on standard input."""
    return f"Standard input is empty. Usage: {usage}"


def edit_elsewhere(app: str) -> str:
    """config:edit over SSH."""
    return (
        "The editor runs on your laptop: install cygni there and run `cygni config:edit`. By hand:\n"
        f"  config:export -a {app} > vars.env, edit it, config:import -a {app} --replace < vars.env"
    )


def on_a_laptop(command: str) -> str:
    """A command that has nothing to do on the server."""
    return f"`{command}` works on your files, so it runs on your laptop: install cygni there and run `cygni {command}`."


def on_the_servers_shell(command: str, data: object) -> str:
    """A command that reads or writes the state directory itself."""
    return f"`{command}` runs on the server's own shell: CYGNI_DATA={data} cygni {command} …"


def no_such_shell(shell: str, known: Sequence[str]) -> str:
    """Completion for a shell that is not known."""
    return f"There is no completion for {shell}. Known shells: {', '.join(known)}."


def no_processes(app: str, process: str | None) -> str:
    """Nothing to list in `ps`."""
    return f"No {f'{process} ' if process else ''}processes on {app}"


def nothing_runs(app: str) -> str:
    """ps:stop of what does not run."""
    return f"None of these processes of {app} runs. `ps:scale -a {app}` shows the formation."


def nothing_stopped(app: str) -> str:
    """ps:start of what is not stopped."""
    return f"None of these processes of {app} is stopped. To run more of them: ps:scale -a {app} web=2"


def not_up_in_time(app: str, missing: str, seconds: int) -> str:
    """ps:wait gave up."""
    return (
        f"{app} is not as it should be after {seconds} s: {missing}. See `ps -a {app}` and `logs -a {app}`."
    )


def bad_size(word: str, known: Iterable[str]) -> str:
    """limits:set of nonsense."""
    what = f"{word} is invalid" if word else "Nothing to set"
    return f"{what}. Must be in the format web=512M, web=512M:0.5 (memory:CPUs) or web=NAME of {', '.join(known)}."


def bad_version(text: str) -> str:
    """Not vN."""
    return f"{text[:40]!r} is no release. Write it as v7."


def no_output(app: str, version: int) -> str:
    """releases:output of a release whose output is gone."""
    return f"v{version} of {app} said nothing while it was made, or its output is gone by now."


def is_current(app: str, version: int) -> str:
    """A rollback to what runs."""
    return f"v{version} is what {app} runs now. `releases -a {app}` lists earlier ones."


def rolled_back(app: str, former: int | None) -> tuple[str, ...]:
    """Said after a rollback."""
    undo = (f"To undo it: rollback -a {app} v{former}",) if former else ()
    return ("Rollback changes code and config vars, not the formation, limits or databases.", *undo)


def commit_gone(commit: str) -> str:
    """The commit of a build that failed was never kept."""
    return f"The server does not have {commit} any more, because its build did not succeed. Push it again."


def bad_time(text: str) -> str:
    """--since or --until of nonsense."""
    return f"{text[:40]!r} is no time. Write 10m, 2h, 3d (ago), 2026-11-25, or 2026-11-25T09:30:00 with or without +01:00 (else UTC)."


def no_lines_between() -> str:
    """--until before --since."""
    return "--until is before --since."


def no_tail_until() -> str:
    """-t with --until."""
    return "-t goes on as lines come, and --until ends at a time: use one of them."


def confirm_needed(app: str, command: str) -> str:
    """A destructive command without its confirmation."""
    return f"This removes {app} with its releases, logs and repository for good. To go on: {command} -a {app} --confirm {app}"


def bad_assignment(word: str) -> str:
    """Not K=V."""
    return f"{word} is invalid. Must be in the format FOO=bar."


def no_such_config(name: str, app: str) -> str:
    """config:get of nothing."""
    return f"{app} has no config var {name}."


def bad_scale(word: str, most: int) -> str:
    """Not type=n, or out of range."""
    return f"{word} is invalid. Must be in the format web=2, web+1 or web-1, and give 0 to {most}."


def bad_key(reason: str) -> str:
    """The key cannot be used."""
    return f"That is not a usable public key: {reason}. Send the .pub file: keys:add laptop < ~/.ssh/id_ed25519.pub"


def key_exists() -> str:
    """The fingerprint or the name is taken."""
    return "That key or its name is already registered on this server."


def no_such_key(name: str) -> str:
    """Unknown key."""
    return f"There is no key {name}. `keys` lists yours."


def bad_key_name(name: str) -> str:
    """The key's or user's name breaks the grammar."""
    return f"{name!r} cannot be a key's or user's name: letters, digits and _.@+- only, at most 63."


def no_such_user(name: str) -> str:
    """Unknown user."""
    return f"There is no user {name}. A server admin registers one with: keys:add KEYNAME --user {name} < key.pub"


def bad_git_setting(word: str) -> str:
    """git:set of anything else."""
    return (
        f"{word} is invalid. Must be deploy-branch=NAME, with a branch's name such as main or release/stable."
    )


def bad_health(word: str) -> str:
    """health:set of nonsense, or of nothing."""
    what = f"{word} is invalid" if word else "Nothing to set"
    return (
        f"{what}. Known settings: path=/up (empty: none), "
        "boot-timeout=1 to 3600 seconds and probe-timeout=1 to 300 seconds."
    )


def no_such_command(name: str, nearest: str | None) -> str:
    """Help of an unknown command."""
    hint = f" Did you mean {nearest}?" if nearest else ""
    return f"There is no command {name!r}.{hint} `help` lists them all."


def bad_config_name(name: str) -> str:
    """The name is no variable name or is ours."""
    return (
        f"{name!r} cannot be a config name: letters, digits and '_' only, not starting with a digit; "
        "PORT and names with CYGNI_ are set by the platform."
    )


def https_is_off() -> str:
    """A certificate was added to a server without HTTPS."""
    return "HTTPS is off on this server: set CYGNI_HTTPS_PORT and start it again."
