"""run and exec, as a person at a terminal and as a script, through OpenSSH's own client and the real engine."""

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from apps import app
from terminals import Person
from tests_support import CYGNI, Repository, Server, engine, eventually, make_key, running_server

pytestmark = pytest.mark.docker

Make = Callable[[Mapping[str, str]], Repository]

APP = "runner"
SHOWS_SIZE = "trap 'stty size' WINCH; stty size; echo go; while :; do read -r line && echo got $line; done"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, server: Server) -> Server:
    """A server with a live app that has a web and a worker process."""
    procfile = app()["Procfile"] + "worker: sh -c 'while :; do sleep 1; done'\n"
    work = Repository(tmp_path_factory.mktemp("runner") / "work", app(Procfile=procfile))
    server.push(work, APP)
    server.ssh("config:set", "-a", APP, "COLOUR=green", "TOKEN=very-secret-value")
    return server


def ssh(server: Server, *words: str, options: tuple[str, ...] = ()) -> list[str]:
    port = str(server.ports["ssh_port"])
    return ["ssh", *server.ssh_options(), *options, "-p", port, "cygni@127.0.0.1", *words]


def person(server: Server, *words: str, columns: int = 80, rows: int = 24) -> Person:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "TERM": "xterm-256color"}
    return Person(ssh(server, *words, options=("-tt",)), env, columns, rows)


async def interrupts_cat(ann: Person) -> None:
    """Start a program, see that it runs, end it with Ctrl-C and see the shell again."""
    ann.type("cat\r")
    await ann.sees("cat\r\n")
    ann.type("mew\r")
    await ann.sees("mew\r\n")
    await ann.sees("mew\r\n")
    ann.type("\x03")
    await ann.sees("^C")
    await ann.sees("$ ")


async def comes_to_have(ann: Person, size: str) -> None:
    """Ask until the terminal has this size: the client sends it beside what is typed."""
    for _ in range(50):
        ann.type("stty size\r")
        await ann.sees("stty size\r\n")
        if (await ann.sees("\r\n")).strip() == size:
            return
        await ann.sees("$ ")
    raise AssertionError(f"never {size}")


def one_offs(server: Server) -> list[str]:
    with engine() as client:
        label = [f"cygni.server={server.identity}", "cygni.one-off"]
        return [str(c.status) for c in client.containers.list(all=True, filters={"label": label})]


def inside(server: Server, text: str) -> bool:
    """Whether a process with this in its command line runs in the app's web instance."""
    with engine() as client:
        label = [f"cygni.server={server.identity}", f"cygni.app={APP}", "cygni.process=web"]
        web = client.containers.list(filters={"label": label})[0]
        return any(text in " ".join(process) for process in web.top()["Processes"])


def test_a_command_runs_in_the_releases_image_with_its_config_and_its_exit_code(place: Server) -> None:
    said = place.ssh(
        "run", "-a", APP, "--", "sh", "-c", "'echo $COLOUR; echo problem >&2; exit 7'", check=False
    )
    assert (said.stdout, said.returncode) == ("green\n", 7)
    assert "problem\n" in said.stderr
    assert "Running run." in said.stderr
    assert one_offs(place) == []
    logs = eventually(
        lambda: (t := place.ssh("logs", "-a", APP).stdout) and "exited with status 7" in t and t
    )
    assert (
        "Starting process run.1 with command `sh -c echo $COLOUR; echo problem >&2; exit 7` by tester" in logs
    )


def test_words_flags_and_shell_lines_arrive_as_they_were_meant(place: Server) -> None:
    assert place.ssh("run", "-a", APP, "printf", "%s,", "-a", "--", "x").stdout == "-a,--,x,"
    assert place.ssh("run", "-a", APP, "--", "printf", "%s,", "-a", "'b c'").stdout == "-a,b c,"
    assert (
        place.ssh("run", "-a", APP, "-e", "COLOUR=red", "-e", "B=1", "'echo $COLOUR$B | tr a-z A-Z'").stdout
        == "RED1\n"
    )
    assert place.ssh("run", APP, "echo", "-n", "x").stdout == "x"


def test_ten_megabytes_of_anything_pass_both_ways_unchanged(place: Server) -> None:
    data = os.urandom(10 << 20)
    done = subprocess.run(
        ssh(place, "run", "-a", APP, "--", "cat"), input=data, capture_output=True, timeout=120, check=True
    )
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()
    done = subprocess.run(
        ssh(place, "exec", "-a", APP, "--", "sha256sum"),
        input=data,
        capture_output=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.decode().split()[0] == hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize("how", ["run", "exec"])
async def test_a_terminal_has_the_windows_size_follows_it_and_ctrl_c_interrupts(
    place: Server, how: str
) -> None:
    async with person(place, how, "-a", APP, "--", "sh", columns=91, rows=31) as ann:
        await ann.sees("$ ")
        await comes_to_have(ann, "31 91")
        await ann.sees("$ ")
        ann.type("tty; echo $TERM\r")
        await ann.sees("/dev/pts/")
        await ann.sees("xterm-256color\r\n")
        await ann.sees("$ ")
        ann.resize(70, 20)
        await comes_to_have(ann, "20 70")
        await ann.sees("$ ")
        await interrupts_cat(ann)
        ann.type("echo still here with $?\r")
        await ann.sees("still here with 130")
        ann.type("exit 5\r")
        assert await ann.ended() == 5
    assert one_offs(place) == []


async def test_the_size_is_there_before_the_first_thing_that_asks(place: Server) -> None:
    for how in ("run", "exec"):
        async with person(place, how, "-a", APP, "--", "stty", "size", columns=77, rows=22) as ann:
            await ann.sees("22 77\r\n")
            assert await ann.ended() == 0


async def test_a_program_is_told_of_a_new_size(place: Server) -> None:
    async with person(place, "run", "-a", APP, f"'{SHOWS_SIZE.replace(chr(39), chr(34))}'") as ann:
        await ann.sees("24 80\r\n")
        await ann.sees("go\r\n")
        ann.resize(100, 40)
        await ann.sees("40 100\r\n")
        ann.type("\x04")


@pytest.mark.parametrize(
    ("how", "options"), [("run", ()), ("run", ("-tt",)), ("exec", ()), ("exec", ("-tt",))]
)
def test_a_command_that_is_not_there_is_127_with_a_word(
    place: Server, how: str, options: tuple[str, ...]
) -> None:
    done = subprocess.run(
        ssh(place, how, "-a", APP, "--", "no-such-program", "x", options=options),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 127, done
    assert "Exit code 127: 'no-such-program' was not found" in done.stdout + done.stderr
    assert "OCI" not in done.stdout + done.stderr


async def test_a_terminal_that_vanishes_takes_its_process_along(place: Server) -> None:
    async with person(place, "run", "-a", APP, "bash") as ann:
        await ann.sees("$ ")
        assert one_offs(place) == ["running"]
        ann.vanish()
    await asyncio.to_thread(eventually, lambda: one_offs(place) == [])
    logs = place.ssh("logs", "-a", APP).stdout
    assert "nobody is joined to it any more" in logs


async def test_exec_hangs_up_its_process_when_the_terminal_vanishes_and_leaves_the_rest(
    place: Server,
) -> None:
    async with person(place, "exec", "-a", APP) as ann:
        await ann.sees("In web.1 of")
        await ann.sees("$ ")
        ann.type("sleep 1234\r")
        await asyncio.to_thread(eventually, lambda: inside(place, "sleep 1234"))
        ann.vanish()
    await asyncio.to_thread(eventually, lambda: not inside(place, "sleep 1234"))
    assert place.get(APP)[0] == 200


def test_exec_chooses_the_instance_and_sees_its_files(place: Server) -> None:
    place.ssh("ps:scale", "-a", APP, "worker=1")
    where = place.ssh("exec", "-a", APP, "-i", "worker.1", "--", "sh", "-c", "'echo $$; cat /proc/1/cmdline'")
    assert "In worker.1 of runner" in where.stderr
    assert "sleep 1" in where.stdout
    assert "server.py" in place.ssh("exec", "-a", APP, "ls").stdout
    wrong = place.ssh("exec", "-a", APP, "-i", "web.9", "ls", check=False)
    assert wrong.returncode == 1
    assert "no running process 'web.9'. There are: web.1, worker.1" in wrong.stderr


def test_a_detached_run_is_named_listed_logged_and_cleared_away(place: Server) -> None:
    name = place.ssh(
        "run", "-a", APP, "-d", "'echo working $COLOUR; sleep 3; echo finished; exit 3'"
    ).stdout.strip()
    assert name.startswith("run.")
    assert f"{name}: up" in place.ssh("ps", "-a", APP).stdout
    assert "detached" in place.ssh("run:list", "-a", APP).stdout
    logs = eventually(
        lambda: (t := place.ssh("logs", "-a", APP).stdout) and f"{name} exited with status 3" in t and t
    )
    assert f"app[{name}]: working green" in logs
    assert f"app[{name}]: finished" in logs
    eventually(lambda: one_offs(place) == [])


def test_a_run_is_stopped_by_name_and_whoever_is_joined_sees_it_end(place: Server) -> None:
    with subprocess.Popen(
        ssh(place, "run", "-a", APP, "--", "sleep", "500"), stderr=subprocess.PIPE
    ) as client:
        assert client.stderr is not None
        name = client.stderr.readline().decode().split()[1]
        place.ssh("run:stop", "-a", APP, name)
        assert client.wait(30) == 143
    missing = place.ssh("run:stop", "-a", APP, name, check=False)
    assert "has no one-off process" in missing.stderr
    assert one_offs(place) == []


def test_a_run_larger_than_its_memory_is_named(place: Server) -> None:
    grow = 'python3 -c "x = bytearray(200 << 20); print(len(x))"'
    done = place.ssh("run", "-a", APP, "--size", "64m", f"'{grow}'", check=False)
    assert done.returncode == 137
    assert "64 MiB" in done.stderr
    assert "--size" in done.stderr
    assert place.ssh("run", "-a", APP, "--size", "512m", f"'{grow}'").stdout.strip() == str(200 << 20)


def test_twenty_runs_at_once_have_names_of_their_own(place: Server) -> None:
    command = ssh(place, "run", "-a", APP, "'sleep 2; echo $CYGNI_APP'")
    clients = [
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(20)
    ]
    said = [client.communicate(timeout=150) for client in clients]
    assert [client.returncode for client in clients] == [0] * 20, said
    assert {out for out, _ in said} == {f"{APP}\n"}
    names = [
        line.split()[1] for _, err in said for line in err.splitlines() if line.startswith("Running run.")
    ]
    assert len(names) == 20
    assert "run.2" in names
    assert one_offs(place) == []


def test_a_viewer_may_not_run_and_what_was_run_is_in_the_audit_trail(place: Server, tmp_path: Path) -> None:
    viewer = make_key(tmp_path / "viewer")
    place.cygni("keys:add", "viewer", input=viewer.with_suffix(".pub").read_text())
    place.cygni("access:add", "-a", APP, "viewer", "--role", "viewer")
    for command in ("run", "exec"):
        refused = place.ssh(command, "-a", APP, "id", key=viewer, check=False)
        assert refused.returncode == 1
        assert "deployer" in refused.stderr
    import sqlite3

    with sqlite3.connect(place.data / "cygni.db") as database:
        actions = {row[0] for row in database.execute("SELECT action FROM events")}
    assert {"run", "exec"} <= actions


async def test_the_servers_own_shell_has_a_terminal_too(place: Server) -> None:
    env = {**place.environment, "TERM": "xterm"}
    async with Person([str(CYGNI), "run", "-a", APP, "sh"], env, columns=66, rows=26) as ann:
        await ann.sees("$ ")
        await comes_to_have(ann, "26 66")
        await ann.sees("$ ")
        ann.resize(50, 10)
        await comes_to_have(ann, "10 50")
        await ann.sees("$ ")
        await interrupts_cat(ann)
        ann.type("exit 6\r")
        assert await ann.ended() == 6


def test_a_script_on_the_servers_own_shell_has_streams_of_its_own(place: Server) -> None:
    done = place.cygni(
        "run", "-a", APP, "--", "sh", "-c", "cat; echo err >&2; exit 4", input="in", check=False
    )
    assert (done.stdout, done.returncode) == ("in", 4)
    assert "err\n" in done.stderr


def test_bad_wishes_are_explained(place: Server, repository: Make) -> None:
    for words, said in (
        (("run", "-a", APP), "What shall be run?"),
        (("run", "-a", APP, "--size", "huge", "id"), "is no size"),
        (("run", "-a", APP, "-e", "1A=b", "id"), "cannot be set"),
        (("run", "-a", APP, "-e", "PORT=1", "id"), "cannot be set"),
        (("run", "-a", "absent", "id"), "There is no app absent"),
    ):
        refused = place.ssh(*words, check=False)
        assert refused.returncode != 0
        assert said in refused.stderr
    place.ssh("apps:create", "unborn")
    assert "no release" in place.ssh("run", "-a", "unborn", "id", check=False).stderr.lower()


def test_one_offs_of_a_killed_server_attached_ones_go_detached_ones_stay(
    tmp_path: Path, networks: Callable[[], str], repository: Make
) -> None:
    with running_server(tmp_path, network=networks()) as server:
        server.push(repository(app()), APP)
        attached = subprocess.Popen(ssh(server, "run", "-a", APP, "sleep", "600"), stderr=subprocess.PIPE)
        assert attached.stderr is not None
        attached.stderr.readline()
        detached = server.ssh("run", "-a", APP, "-d", "'sleep 8; echo survived'").stdout.strip()
        server.kill()
        attached.wait(30)
        attached.stderr.close()
        server.start()
        eventually(lambda: server.ssh("run:list", "-a", APP).stdout.count("run.") == 1)
        assert detached in server.ssh("run:list", "-a", APP).stdout
        eventually(lambda: f"app[{detached}]: survived" in server.ssh("logs", "-a", APP).stdout)
        eventually(lambda: one_offs(server) == [])
