"""What is said of one-off processes: what happened, why, what to do."""

from collections.abc import Iterable, Sequence

from deployer.ports import Outcome


def too_many_one_offs(app: str, most: int) -> str:
    """The app has as many as it may."""
    return f"{app} has {most} one-off processes, which is the limit. See `ps -a {app}` and stop some with `run:stop`."


def one_off_ended(name: str, outcome: Outcome | None) -> str:
    """For the app's log; None when whoever was joined to it has left."""
    if outcome is None:
        return f"Process {name} was ended: nobody is joined to it any more"
    if outcome.out_of_memory:
        return f"Process {name} ran out of memory and was killed"
    return f"Process {name} exited with status {outcome.code}"


def one_off_too_old(name: str) -> str:
    """For the app's log."""
    return f"Process {name} has run for 24 hours, the longest a one-off may; it is stopped"


def one_off_out_of_memory(size: int) -> str:
    """For whoever was joined to it."""
    return f"The process ran out of memory (limit {size >> 20} MiB) and was killed. Try a larger one: run --size 1G"


def one_off_killed(size: int) -> str:
    """Exit code 137 without the engine's word for why."""
    return (
        f"Exit code 137: the process was killed. If nobody stopped it, it needed more memory than {size >> 20} MiB; "
        "try a larger one: run --size 1G"
    )


def command_missing(command: str) -> str:
    """Exit code 127."""
    return f"Exit code 127: {command!r} was not found, or it called a command that is not in the image."


def no_such_one_off(app: str, name: str, names: Sequence[str]) -> str:
    """Nothing of that name runs."""
    known = f"There are: {', '.join(names)}." if names else "There are none."
    return f"{app} has no one-off process {name!r}. {known}"


def no_such_instance(app: str, name: str | None, names: Sequence[str]) -> str:
    """Nothing runs that a command could be run in."""
    if not names:
        return f"Nothing of {app} runs. See `ps -a {app}`; `run` starts a process of its own."
    return f"{app} has no running process {name!r}. There are: {', '.join(names)}."


def bad_variable(word: str) -> str:
    """Of `run -e`."""
    return f"{word.partition('=')[0][:60]!r} cannot be set: write NAME=VALUE, NAME of letters, digits and '_', not PORT, not CYGNI_…"


def bad_size(text: str, names: Iterable[str]) -> str:
    """Of `run --size`."""
    return f"{text[:40]!r} is no size: write memory, such as 512M or 1G, and processors if need be, 1G:2; or {', '.join(names)}."


def no_command(name: str) -> str:
    """`run` or `exec` of nothing."""
    return f"What shall be run? For example: {name} -a APP -- python3 -V"
