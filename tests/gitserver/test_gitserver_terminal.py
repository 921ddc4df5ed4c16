"""Terminals: what OpenSSH's client with one of its own gets, whether the command takes it over or not."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st
from terminals import Person

from gitserver.ports import Terminal
from gitserver.terminal import TerminalState

if TYPE_CHECKING:
    from tests.gitserver.conftest import Door


def person(door: Door, *words: str, columns: int = 80, rows: int = 24) -> Person:
    target = ["-p", str(door.server.port), "cygni@127.0.0.1"]
    env = door.environment(TERM="xterm-256color")
    return Person([*door.ssh_options(), "-tt", *target, *words], env, columns, rows)


async def test_a_command_that_takes_the_terminal_gets_its_kind_size_changes_and_every_byte(
    door: Door,
) -> None:
    async with person(door, "terminal", columns=101, rows=33) as ann:
        await ann.sees("Terminal(kind='xterm-256color', columns=101, rows=33)\n")
        ann.type("a\x03\x04\r")
        await ann.sees(r"b'a\x03\x04\r'")
        ann.resize(60, 20)
        await ann.sees("Terminal(kind='xterm-256color', columns=60, rows=20)")
        ann.type("q")
        assert await ann.ended() == 0


async def test_any_other_command_has_lines_that_end_as_they_should(door: Door) -> None:
    async with person(door, "echo", "one") as ann:
        await ann.sees("one\r\n")
        await ann.sees("done\r\n")
        assert await ann.ended() == 0


async def test_control_c_ends_a_command_that_left_the_terminal_alone(door: Door) -> None:
    async with person(door, "wait") as ann:
        await asyncio.wait_for(door.commands.started.wait(), 20)
        ann.type("\x03")
        assert await ann.ended() == 130
    await asyncio.wait_for(door.commands.cancelled.wait(), 20)


async def test_control_d_ends_a_commands_input(door: Door) -> None:
    async with person(door, "cat", "ready") as ann:
        await ann.sees("ready")
        ann.type("line\r")
        await ann.sees("line\r\n")
        ann.type("\x04")
        assert await ann.ended() == 0


async def test_git_with_a_terminal_is_not_changed_by_it(door: Door) -> None:
    work = await door.work()
    ssh = " ".join([*door.ssh_options(), "-tt"])
    await door.good("push", "cygni", "main", cwd=work, GIT_SSH_COMMAND=ssh)
    await door.good("clone", "-q", door.url(), "copy", GIT_SSH_COMMAND=ssh)


async def test_a_library_sends_signals_and_a_strange_kind_of_terminal_is_dumb(door: Door) -> None:
    async with await door.connect() as connection:
        process = await connection.create_process("signal")
        await process.stdout.readline()
        process.send_signal("NONSENSE")
        process.send_signal("TERM")
        assert await process.stdout.read() == "TERM"
        terminal = await connection.create_process("terminal", term_type="$(id)", term_size=(70_000, 5))
        assert "kind='dumb', columns=65535, rows=5" in await terminal.stdout.readline()
        terminal.stdin.write("q")
        await terminal.wait()


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_what_is_typed_before_a_terminal_is_taken_never_breaks_anything(parts: list[bytes]) -> None:
    state = TerminalState()
    state.grant("xterm", 80, 24)
    for part in parts:
        data, ended = state.typed(part)
        assert b"\r" not in data
        assert b"\x03" not in data
        assert ended == (b"\x04" in part.rpartition(b"\x03")[2])
    assert state.interrupted.is_set() == any(b"\x03" in part for part in parts)
    assert state.take() == Terminal("xterm", 80, 24)
    assert state.typed(b"\r\x03\x04") == (b"\r\x03\x04", False)
    assert state.shown(b"\n") == b"\n"
