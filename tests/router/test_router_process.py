"""Processes die at any moment: workers, the parent, the control plane. What must go on goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from router import store
from router.client import RouterClient
from router.errors import RouterTimeoutError, RouterUnavailableError
from router.options import Limits
from router.table import AppRoute, Table, Target

if TYPE_CHECKING:
    from tests.router.conftest import World

LIMITS = Limits(sweep=0.05, linger=0.5, drain=5)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def ask(world: World, path: str = "/") -> bytes:
    client = await world.client()
    try:
        return (await client.get(path))[2]
    finally:
        await client.close()


async def test_hello_tells_the_chosen_port_and_the_socket_is_the_owners_alone(world: World) -> None:
    router = await world.launch(workers=2)
    assert world.control.http_port == router.port == int((world.folder / "port").read_text())
    assert world.control.pid == router.process.pid
    assert stat.S_IMODE(router.socket.stat().st_mode) == 0o600
    assert len(router.worker_pids()) == 2


async def test_a_killed_worker_is_replaced_and_nobody_else_notices(world: World) -> None:
    """Requests of the killed worker are cut; every connection made afterwards is served, none is refused."""
    router = await world.launch(LIMITS, workers=2)
    app = await world.echo("app")
    await world.route(app.target())
    for _ in range(3):
        victim, survivor = router.worker_pids()
        os.kill(victim, signal.SIGKILL)
        for _ in range(40):
            assert (await ask(world)).startswith(b"app")
        await world.eventually(lambda old=survivor: len(set(router.worker_pids()) - {old}) == 1)  # type: ignore[misc]
    new = await world.echo("new")
    await world.route(new.target())
    for _ in range(20):
        assert (await ask(world)).startswith(b"new")


async def test_a_worker_that_hangs_is_replaced_and_does_not_keep_an_old_table(world: World) -> None:
    router = await world.launch(LIMITS, workers=2, ack_timeout=0.5)
    old, new = await world.echo("old"), await world.echo("new")
    await world.route(old.target())
    hanging = router.worker_pids()[0]
    os.kill(hanging, signal.SIGSTOP)
    version = await world.control.publish(AppRoute("a1", "shop", ("shop.localhost",), (new.target(),)))
    with pytest.raises(RouterTimeoutError):
        await world.control.acknowledged(version, 0.2)
    await world.control.acknowledged(version, 10)
    await world.eventually(lambda: not alive(hanging))
    assert (await ask(world)).startswith(b"new")


async def test_without_its_control_plane_the_router_serves_and_spools(world: World) -> None:
    """The control plane is killed: lines wait within a bound, the loss is counted, a new one takes over."""
    await world.launch(LIMITS, spool_lines=20)
    app = await world.echo("app")
    await world.route(app.target())
    await world.control.close()
    for n in range(50):
        assert (await ask(world, f"/{n}")).startswith(b"app")
        if n % 10 == 9:
            await asyncio.sleep(0.1)
    control = await world.connect_control()
    lines = []
    async with asyncio.timeout(5):
        async for line in control.access():
            lines.append(line.text)
            if 'path="/49"' in line.text:
                break
    assert len(lines) <= 20
    await world.eventually(lambda: control.dropped + len(lines) == 50)
    version = await control.publish(AppRoute("a1", "shop", ("shop.localhost",), (app.target("web.7"),)))
    await control.acknowledged(version, 5)


async def test_connecting_again_changes_no_route(world: World) -> None:
    """A control plane that has said nothing yet must not wipe the table."""
    await world.launch(LIMITS)
    app = await world.echo("app")
    await world.route(app.target())
    await world.control.close()
    await world.connect_control()
    assert (await ask(world)).startswith(b"app")


async def test_a_killed_router_leaves_no_process_and_starts_alone_from_its_saved_table(world: World) -> None:
    router = await world.launch(LIMITS, workers=2)
    app = await world.echo("app")
    await world.route(app.target())
    workers = router.worker_pids()
    client = world.control
    await router.stop(signal.SIGKILL)
    await world.eventually(lambda: not any(alive(pid) for pid in workers))
    await client.close()
    await router.start()
    assert (await ask(world)).startswith(b"app")
    assert json.loads((world.folder / "table.json").read_text())["routes"][0]["app_id"] == "a1"


async def test_a_client_survives_the_routers_death_and_brings_the_new_one_up_to_date(world: World) -> None:
    """What was published while no router was there is there once one is."""
    router = await world.launch(LIMITS)
    old, new = await world.echo("old"), await world.echo("new")
    await world.control.synchronize([AppRoute("a1", "shop", ("shop.localhost",), (old.target(),))])
    assert (await ask(world)).startswith(b"old")
    await router.stop(signal.SIGKILL)
    version = await world.control.publish(AppRoute("a1", "shop", ("shop.localhost",), (new.target(),)))
    await world.control.publish(AppRoute("b1", "b", ("b.localhost",), ()))
    with pytest.raises(RouterTimeoutError):
        await world.control.acknowledged(version, 0.2)
    await router.start()
    await world.control.acknowledged(version, 10)
    assert (await ask(world)).startswith(b"new")
    assert await world.control.drained("a1", ["old"], 5)
    await world.control.acknowledged(await world.control.remove("a1"), 10)
    assert (await (await world.client()).get())[0] == 404


async def test_sigterm_finishes_what_runs_and_takes_no_more(world: World) -> None:
    router = await world.launch(LIMITS, workers=2)
    app = await world.echo("app", delay=0.5)
    await world.route(app.target())
    busy, idle = await world.client(), await world.client()
    busy.send("GET /last HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    await world.eventually(lambda: app.connections == 1)
    stopping = asyncio.create_task(router.stop())
    status, headers, body = await busy.answer()
    assert (status, body) == (200, b"app GET /last HTTP/1.1\n")
    assert headers["connection"] == "close"
    assert await idle.ended()
    assert await stopping == 0
    with pytest.raises(ConnectionRefusedError):
        await world.client()
    assert not router.socket.exists()


async def test_sigterm_cuts_what_does_not_end(world: World) -> None:
    router = await world.launch(replace(LIMITS, drain=0.5))
    app = await world.echo("app", delay=60)
    await world.route(app.target())
    client = await world.client()
    client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\n\r\n")
    await world.eventually(lambda: app.connections == 1)
    assert await router.stop() == 0
    assert await client.ended()


async def test_routers_take_over_on_inherited_sockets_without_a_refused_connection(world: World) -> None:
    """Upgrade: the next router starts on the same sockets and control path, then the old one drains."""
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        old = await world.launch(LIMITS, workers=2, sockets=(listener.fileno(),))
        assert old.port == listener.getsockname()[1]
        app = await world.echo("app", delay=0.01)
        await world.control.synchronize([AppRoute("a1", "shop", ("shop.localhost",), (app.target(),))])
        served, going = 0, True

        async def load() -> None:
            nonlocal served
            while going:
                assert (await ask(world)).startswith(b"app")
                served += 1

        async with asyncio.TaskGroup() as tasks:
            for _ in range(4):
                tasks.create_task(load())
            for _ in range(2):
                new = await world.successor(sockets=(listener.fileno(),))
                assert await old.stop() == 0
                await world.eventually(lambda new=new: world.control.pid == new.process.pid)  # type: ignore[misc]
                old = new
            before = served
            await world.eventually(lambda: served > before + 20)
            going = False
        assert old.socket.exists()
        version = await world.control.publish(AppRoute("a1", "shop", ("shop.localhost",), (app.target("x"),)))
        await world.control.acknowledged(version, 10)


async def test_a_busy_address_is_one_clear_error(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        command = (
            "import sys; from pathlib import Path; from router.main import run; from router.options import *;"
            "run(RouterOptions('127.0.0.1', int(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3])))"
        )
        port = str(taken.getsockname()[1])
        process = await asyncio.create_subprocess_exec(
            os.sys.executable, "-P", "-c", command, port, str(world.folder / "s"), str(world.folder / "t"),  # type: ignore[attr-defined]
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert errors.decode().strip().endswith(f"cannot listen on 127.0.0.1 port {port}: Address already in use")


async def test_no_router_is_one_clear_error(tmp_path: Path) -> None:
    client = RouterClient(tmp_path / "nobody.sock")
    with pytest.raises(RouterUnavailableError, match=r"nobody\.sock"):
        await client.connect(0.3)
    with pytest.raises(RouterUnavailableError):
        assert client.http_port
    assert not await client.drained("a", ["i"], 0.05)
    await client.close()


async def test_a_client_that_talks_nonsense_harms_nobody(world: World) -> None:
    await world.launch(LIMITS)
    app = await world.echo("app")
    await world.route(app.target())
    for data in (b"nonsense\n", b'{"type":"snapshot","version":1,"routes":[]}\n', b"\xff" * 100_000 + b"\n"):
        reader, writer = await asyncio.open_unix_connection(str(world.router.socket))
        writer.write(data)
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
    assert (await ask(world)).startswith(b"app")


def test_a_saved_table_is_whole_or_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    assert store.load(path).routes == {}
    routes = [
        AppRoute(f"a{n}", "x", (f"h{n}.test",), (Target("i", "web.1", "10.0.0.1", 80),)) for n in range(100)
    ]
    store.save(path, Table(7, routes))
    loaded = store.load(path)
    assert (loaded.version, tuple(loaded.routes.values())) == (7, tuple(routes))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(path.read_bytes()[:-50])
    assert store.load(path).routes == {}
    assert (tmp_path / "table.json.bad").exists()
