"""Procfiles and shell lines: what is read, what is corrected, what is refused with its line."""

import subprocess

import pytest

from buildpacks.plan import PlanError
from buildpacks.procfile import parse
from buildpacks.shell import exec_line


def test_types_commands_and_lines_are_read() -> None:
    found = parse("# comment\n\nweb:    gunicorn a:b # no comment\r\n  worker : x: y\nrelease: migrate\n")
    assert [(item.type, item.command, item.source.line) for item in found.processes] == [
        ("web", "gunicorn a:b # no comment", 3),
        ("worker", "x: y", 4),
    ]
    assert found.release is not None
    assert found.release.command == "migrate"


def test_spelling_of_types_is_corrected_with_a_warning() -> None:
    found = parse("Web_API: x\nWEB: y")
    assert [item.type for item in found.processes] == ["web-api", "web"]
    assert [note.id for note in found.notes] == ["procfile/corrected", "procfile/corrected"]


def test_the_last_of_two_definitions_counts() -> None:
    found = parse("web: a\nweb: b")
    assert [item.command for item in found.processes] == ["b"]
    assert "line 2" in found.notes[0].text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("web: x\n<<<<<<< HEAD\n", 2),
        ("web:\n", 1),
        ("\n\nno colon here", 3),
        ("-web: x", 1),
        ("web/1: x", 1),
        (f"{'w' * 64}: x", 1),
        ("web: x\x1b[2J", 1),
        ("web: a\u2028b", 1),
        (": x", 1),
    ],
)
def test_a_bad_line_is_refused_with_its_number(text: str, line: int) -> None:
    with pytest.raises(PlanError) as caught:
        parse(text)
    assert caught.value.failure.id == "procfile/bad-line"
    assert caught.value.failure.title == f"Procfile line {line} is not `type: command`."
    assert "\x1b" not in caught.value.failure.body


def test_too_many_types_are_refused() -> None:
    with pytest.raises(PlanError, match="more than 64"):
        parse("\n".join(f"p{number}: x" for number in range(65)))


def test_an_empty_procfile_is_noted() -> None:
    assert [note.id for note in parse("# web: x\n").notes] == ["procfile/empty"]
    assert [note.id for note in parse("worker: x\n").notes] == ["procfile/no-web"]
    assert parse("release: x\n").notes == ()


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("gunicorn app:app --bind 127.0.0.1:$PORT", ["process/loopback"]),
        ("uvicorn a:b --host localhost --port $PORT", ["process/loopback"]),
        ("flask run -h 127.0.0.1 -p 5000", ["process/loopback", "process/literal-port"]),
        ("gunicorn -b 0.0.0.0:8000 a:b", ["process/literal-port"]),
        ("node server.js --port 3000", ["process/literal-port"]),
        ("gunicorn a:b", []),
        ("gunicorn --bind 0.0.0.0:$PORT a:b", []),
        ("serve --port ${PORT:-5000}", []),
        ("DATABASE_URL=postgres://127.0.0.1/x app", []),
    ],
)
def test_addresses_that_the_router_cannot_reach_get_a_warning(command: str, expected: list[str]) -> None:
    assert [note.id for note in parse(f"web: {command}").notes] == expected
    assert all("process/" not in note.id for note in parse(f"worker: {command}\nweb: x").notes)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("gunicorn a:b", "exec gunicorn a:b"),
        ("  node x", "  exec node x"),
        ("FOO=1 BAR=$X node x", "FOO=1 BAR=$X exec node x"),
        ("python manage.py migrate && gunicorn x", "python manage.py migrate && exec gunicorn x"),
        ("cd src && node x", "cd src && exec node x"),
        ("echo 'a && b' ; x", "echo 'a && b' ; x"),
        ("node 'a && b'", "exec node 'a && b'"),
        ('node "a $X" ${PORT:-1}', 'exec node "a $X" ${PORT:-1}'),
        ('node "$(id)"', 'node "$(id)"'),
        ("a | b", "a | b"),
        ("a || b", "a || b"),
        ("a &", "a &"),
        ("a > b", "a > b"),
        ("exec a", "exec a"),
        ("cd x", "cd x"),
        ("a `b`", "a `b`"),
        ("a 'unclosed", "a 'unclosed"),
        ("true", "true"),
        ('FOO="a b" node x', 'FOO="a b" node x'),
    ],
)
def test_exec_goes_before_the_last_simple_command_only(command: str, expected: str) -> None:
    assert exec_line(command) == expected


@pytest.mark.parametrize(
    "command", ["A=1 sh -c 'echo $A $$ $PPID'", "true && sh -c 'echo  x y'", 'sh -c "echo $HOME"']
)
def test_exec_changes_nothing_but_the_process(command: str) -> None:
    def run(line: str) -> str:
        return subprocess.run(
            ["/bin/sh", "-c", line], capture_output=True, text=True, check=True
        ).stdout.split()[0]

    assert run(exec_line(command)) == run(command)


def test_the_program_replaces_the_shell() -> None:
    line = exec_line("true && cat /proc/self/stat")
    child = subprocess.Popen(["/bin/sh", "-c", line], stdout=subprocess.PIPE, text=True)
    output, _ = child.communicate(timeout=10)
    assert output.split()[:2] == [str(child.pid), "(cat)"]
