"""One-offs: who may, how many, what they are called, how long they live, what is said of them; on the engine in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from receiving import Reception, line_with, prepare, reception

from cygni import oneoffs
from cygni.commands.parser import UsageError, parse
from cygni.commands.registry import registry
from cygni.commands.run import command_line
from cygni.domain.errors import ConflictError
from cygni.domain.models import ProcessType
from cygni.oneoffs import Wish
from deployer.memory import Program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from cygni.domain.models import App

PROGRAMS = {
    ("cat",): Program(echoes=True, exit_code=3),
    ("wait",): Program(stop_after=0),
    ("work",): Program(lines=("working", "finished"), exit_after=0.2, exit_code=4),
    ("no-such",): Program(lines=("exec no-such failed",), exit_after=0, exit_code=127),
    ("grow",): Program(exit_after=0, out_of_memory=True),
}


def programs(image: str, command: tuple[str, ...]) -> Program | None:
    return PROGRAMS.get(command, Program(exit_after=0)) if image == "sha256:0" else None


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept")
    asyncio.run(prepare(path))
    return path


@pytest.fixture
async def door(tmp_path: Path, kept: Path) -> AsyncIterator[Reception]:
    async with reception(tmp_path, kept, programs=programs) as made:
        yield made


@pytest.fixture
async def shop(door: Reception) -> App:
    owner = await door.store.users.ensure("tester")
    app = await door.store.apps.create("shop", owner.id)
    await door.store.config.change(app.id, {"TOKEN": "a-secret-value"}, author="t", job_kind=None)
    release = await door.store.releases.create(
        app.id,
        image="sha256:0",
        commit="0" * 40,
        processes=(ProcessType("web", ("web",), None),),
        release_command=None,
        author="tester",
        reason="Deploy",
    )
    await door.store.releases.set_live(release.id)
    return app


async def logged(door: Reception, app: App, text: str) -> bool:
    return text in (await door.command("logs", "-a", app.name)).out


async def test_input_output_and_exit_code_pass_and_both_ends_are_logged(door: Reception, shop: App) -> None:
    process = await door.spawn(*door.to_server("run", "-a", "shop", "cat"), stdin=asyncio.subprocess.PIPE)
    out, err = await asyncio.wait_for(process.communicate(b"one\ntwo\n"), 30)
    assert (out, process.returncode) == (b"one\ntwo\n", 3)
    assert b"Running run.1 on shop" in err
    await door.until(lambda: logged(door, shop, "Process run.1 exited with status 3"))
    assert await logged(door, shop, "Starting process run.1 with command `cat` by tester")
    assert [event.action for event in await door.store.events.list(shop.id, 5)][0] == "run"
    assert await door.services.one_offs.list(shop) == []


async def test_config_values_reach_neither_the_log_nor_the_audit_trail(door: Reception, shop: App) -> None:
    for command in ("run", "exec"):
        await door.command(command, "-a", "shop", "--", "login", "a-secret-value", "shown")
    assert await logged(door, shop, "with command `login [hidden] shown`")
    assert not await logged(door, shop, "a-secret-value")
    events = {event.action: event.detail for event in await door.store.events.list(shop.id, 5)}
    assert events == {"run": "login [hidden] shown", "exec": "login [hidden] shown"}


async def test_exec_joins_an_instance_and_both_are_as_before_afterwards(door: Reception, shop: App) -> None:
    instance = await door.services.one_offs.detached(shop, Wish(("wait",), "ann"))
    process = await door.spawn(
        *door.to_server("exec", "-a", "shop", "-i", "run.1", "cat"), stdin=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(b"inside\n"), 30)
    assert (out, process.returncode) == (b"inside\n", 3)
    assert b"In run.1 of shop" in err
    assert await logged(door, shop, "tester runs `cat` in run.1 (v1)")
    assert [item.id for item in await door.services.one_offs.list(shop)] == [instance.id]


async def test_an_app_on_its_way_out_starts_nothing(door: Reception, shop: App) -> None:
    await door.store.apps.mark_destroying(shop.id)
    refused = await door.command("run", "-a", "shop", "cat")
    assert refused.code == 1
    assert "is being destroyed" in refused.err


async def test_what_an_exit_code_means_is_told(door: Reception, shop: App) -> None:
    missing = await door.command("run", "-a", "shop", "no-such")
    assert missing.code == 127
    assert "'no-such' was not found" in missing.err
    grown = await door.command("run", "-a", "shop", "--size", "64m", "grow")
    assert grown.code == 137
    assert "ran out of memory (limit 64 MiB)" in grown.err
    assert await logged(door, shop, "Process run.1 ran out of memory and was killed")


async def test_numbers_are_unique_at_once_and_used_again(door: Reception, shop: App) -> None:
    async with contextlib.AsyncExitStack() as stack:
        wish = Wish(("wait",), "ann")
        joined = await asyncio.gather(
            *(stack.enter_async_context(door.services.one_offs.attached(shop, wish)) for _ in range(20))
        )
        assert sorted(j.name for j in joined) == sorted(f"run.{n}" for n in range(1, 21))
        shown = (await door.command("ps", "-a", "shop")).out
        assert any(line.startswith("=== run") and line.endswith("(20)") for line in shown.splitlines())
        assert "run.7: up" in shown
    assert (await door.services.one_offs.detached(shop, wish)).name == "run.1"


async def test_an_app_has_no_more_than_its_limit(
    door: Reception, shop: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oneoffs, "MOST", 2)
    for _ in range(2):
        await door.services.one_offs.detached(shop, Wish(("wait",), "ann"))
    with pytest.raises(ConflictError, match="2 one-off processes, which is the limit"):
        await door.services.one_offs.detached(shop, Wish(("wait",), "ann"))
    refused = await door.command("run", "-a", "shop", "wait")
    assert refused.code == 1
    assert "run:stop" in refused.err


async def test_a_client_that_leaves_takes_its_process_along(door: Reception, shop: App) -> None:
    process = await door.spawn(*door.to_server("run", "-a", "shop", "wait"))
    await line_with(process.stderr, b"Running run.1")
    os.killpg(process.pid, signal.SIGKILL)

    async def gone() -> bool:
        return await door.services.one_offs.list(shop) == []

    await door.until(gone)
    await door.until(lambda: logged(door, shop, "Process run.1 was ended: nobody is joined to it any more"))


async def test_a_detached_one_is_followed_into_the_log_and_cleared_away(door: Reception, shop: App) -> None:
    started = await door.command("run", "-a", "shop", "-d", "work")
    assert started.out == "run.1\n"
    await door.until(lambda: logged(door, shop, "Process run.1 exited with status 4"))
    assert await logged(door, shop, "app[run.1]: working")
    assert await logged(door, shop, "app[run.1]: finished")
    assert await door.services.one_offs.list(shop) == []


async def test_after_a_day_a_one_off_is_stopped_and_the_log_says_so(door: Reception, shop: App) -> None:
    old = await door.services.one_offs.detached(shop, Wish(("wait",), "ann"))
    fresh = await door.services.one_offs.detached(shop, Wish(("wait",), "ann"))
    container = door.machine.find(old.id)
    assert container is not None
    assert container.started_at is not None
    container.started_at -= timedelta(hours=24, seconds=1)
    await door.services.one_offs.look()

    async def only_the_fresh_one() -> bool:
        return [item.id for item in await door.services.one_offs.list(shop)] == [fresh.id]

    await door.until(only_the_fresh_one)
    assert await logged(door, shop, "Process run.1 has run for 24 hours")


async def test_a_stopped_one_ends_for_whoever_is_joined(door: Reception, shop: App) -> None:
    process = await door.spawn(*door.to_server("run", "-a", "shop", "wait"))
    await line_with(process.stderr, b"Running run.1")
    stopped = await door.command("run:stop", "-a", "shop", "run.1")
    assert "Stopping run.1 of shop... done" in stopped.err
    assert await asyncio.wait_for(process.wait(), 30) == 0  # the simulated program ends well on SIGTERM
    await door.services.one_offs.detached(shop, Wish(("wait",), "ann"))
    assert "Stopping run.1 of shop... done" in (await door.command("ps:stop", "-a", "shop", "run.1")).err
    again = await door.command("run:stop", "-a", "shop", "run.1")
    assert again.code == 1
    assert "shop has no one-off process 'run.1'. There are none." in again.err


async def test_an_engine_that_is_down_is_explained_and_nothing_stays_reserved(
    door: Reception, shop: App
) -> None:
    door.machine.go_down()
    refused = await door.command("run", "-a", "shop", "cat")
    assert refused.code == 1
    assert "container engine does not answer" in refused.err
    door.machine.come_back()
    assert (await door.command("run", "-a", "shop", "-d", "wait")).out == "run.1\n"


async def test_an_engine_that_refuses_is_not_said_to_be_down(door: Reception, shop: App) -> None:
    release = await door.store.releases.create(
        shop.id,
        image="sha256:gone",
        commit="1" * 40,
        processes=(),
        release_command=None,
        author="tester",
        reason="Deploy",
    )
    await door.store.releases.set_live(release.id)
    refused = await door.command("run", "-a", "shop", "cat")
    assert refused.code == 1
    assert "The container engine refused: no such image: sha256:gone. Nothing was changed" in refused.err
    assert "systemctl" not in refused.err


async def test_an_app_without_a_release_has_nothing_to_run(door: Reception) -> None:
    await door.store.apps.create("unborn", (await door.store.users.ensure("tester")).id)
    refused = await door.command("run", "-a", "unborn", "cat")
    assert refused.code == 1
    assert "release" in refused.err
    refused = await door.command("exec", "-a", "unborn", "cat")
    assert "Nothing of unborn runs" in refused.err


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (("ls",), ("ls",)),
        (("/usr/bin/env",), ("/usr/bin/env",)),
        (("echo $HOME",), ("/bin/sh", "-c", "echo $HOME")),
        (("a|b",), ("/bin/sh", "-c", "a|b")),
        (("echo", "$HOME"), ("echo", "$HOME")),
    ],
)
def test_one_word_that_only_a_shell_understands_is_a_shell_line(
    words: tuple[str, ...], command: tuple[str, ...]
) -> None:
    assert command_line(words) == command


@pytest.mark.parametrize(
    ("line", "app", "command", "rest"),
    [
        ("run -a shop ls -la --json", "shop", ("ls", "-la", "--json"), {}),
        ("run shop ls -a other", "shop", ("ls", "-a", "other"), {}),
        (
            "run -a shop -d -e A=1 -e B=2 -- x -d",
            "shop",
            ("x", "-d"),
            {"detach": True, "env": ("A=1", "B=2")},
        ),
        ("run --size 1g --app=shop x", "shop", ("x",), {"size": "1g"}),
        ("exec -a shop -i web.2", "shop", (), {"instance": "web.2"}),
        ("run bash -a shop", "shop", ("bash",), {}),
    ],
)
def test_what_follows_the_commands_first_word_belongs_to_it(
    line: str, app: str, command: tuple[str, ...], rest: dict[str, object]
) -> None:
    found = parse(registry, line.split())
    assert (found.app, found.values) == (app, {"command": command, **rest})


def test_an_unknown_flag_before_the_command_is_named() -> None:
    with pytest.raises(UsageError, match=r"run has no flag --detatch\. Did you mean --detach"):
        parse(registry, ["run", "-a", "shop", "--detatch", "x"])
