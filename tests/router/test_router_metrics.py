"""What is counted, and where it can be read."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
from typing import TYPE_CHECKING

from router import feed
from router.metrics import BOUNDS, Meter, Metrics
from router.options import Limits
from router.table import AppRoute

if TYPE_CHECKING:
    from tests.router.conftest import Request, World

LIMITS = Limits(sweep=0.05)


async def scrape(world: World, path: str = "/metrics") -> tuple[int, str]:
    reader, writer = await asyncio.open_unix_connection(str(world.router.socket))
    writer.write(f"GET {path} HTTP/1.1\r\nHost: router\r\n\r\n".encode())
    async with asyncio.timeout(5):
        head, _, text = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split(" ")[1]), text


def value(text: str, series: str) -> float:
    found = re.search(rf"^{re.escape(series)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_requests_are_counted_by_app_and_outlive_their_worker(world: World) -> None:
    router = await world.launch(LIMITS, workers=2)

    async def answer(request: Request) -> None:
        await request.answer("12345", status="404 Not Found" if request.path == "/no" else "200 OK")

    await world.route((await world.http("app", answer)).target())
    for path in ("/", "/", "/no"):
        client = await world.client()
        await client.get(path)
        await client.close()
    ok = 'cygni_router_requests_total{app="shop",status="2xx"}'
    text = ""
    async with asyncio.timeout(10):
        while value(text, ok) != 2 or value(text, "cygni_router_connections") != 0:
            await asyncio.sleep(0.05)
            _, text = await scrape(world)
    assert value(text, 'cygni_router_requests_total{app="shop",status="4xx"}') == 1
    assert value(text, 'cygni_router_response_bytes_total{app="shop"}') == 15
    assert value(text, 'cygni_router_request_duration_seconds_count{app="shop"}') == 3
    assert value(text, 'cygni_router_request_duration_seconds_bucket{app="shop",le="+Inf"}') == 3
    assert value(text, "cygni_router_workers") == 2
    before = router.worker_pids()
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    await world.eventually(lambda: len(set(router.worker_pids()) - set(before)) == 2)
    assert value((await scrape(world))[1], ok) == 2
    assert (await scrape(world, "/other"))[0] == 404


async def test_an_app_that_is_gone_is_not_shown(world: World) -> None:
    await world.launch(LIMITS)
    await world.route((await world.echo("app")).target())
    assert (await (await world.client()).get())[0] == 200
    async with asyncio.timeout(10):
        while 'app="shop"' not in (await scrape(world))[1]:
            await asyncio.sleep(0.05)
    await world.control.acknowledged(await world.control.remove("a1"), 5)
    assert 'app="shop"' not in (await scrape(world))[1]


def test_reports_add_up_and_every_family_stands_in_one_group() -> None:
    sent: list[bytes] = []
    meter, metrics = Meter(lambda line: not sent.append(line)), Metrics()  # type: ignore[func-returns-value]
    routes = {name: AppRoute(name, f"app-{name}", ()) for name in "ab"}
    for milliseconds in (0, *BOUNDS, 99_999):
        meter.count("a", 200, milliseconds, 10)
    meter.count("b", 0, 1, 0).retries += 2
    meter.report({"connections": 3})
    meter.report({"connections": 3})
    assert len(sent) == 1, "nothing new, nothing sent"
    for worker in (1, 2):
        message = feed.decode(sent[0])
        assert isinstance(message, feed.Stats)
        metrics.add(worker, message)
    metrics.leave(2)
    text = metrics.text(routes)
    assert value(text, "cygni_router_connections") == 3
    assert value(text, 'cygni_router_requests_total{app="app-a",status="2xx"}') == 2 * (len(BOUNDS) + 2)
    assert value(text, 'cygni_router_request_duration_seconds_bucket{app="app-a",le="0.005"}') == 4
    assert value(text, 'cygni_router_requests_total{app="app-b",status="none"}') == 2
    assert value(text, 'cygni_router_retries_total{app="app-b"}') == 4
    groups = [line.split("{")[0].split(" ")[0] for line in text.splitlines() if not line.startswith("#")]
    families = [re.sub(r"_(bucket|sum|count)$", "", name) for name in groups]
    changes = [name for n, name in enumerate(families) if n == 0 or families[n - 1] != name]
    assert len(changes) == len(set(changes))


async def test_a_client_that_asks_for_json_gets_its_errors_as_json(world: World) -> None:
    await world.launch(LIMITS)
    await world.route(state="stopped")
    client = await world.client()
    client.send("GET / HTTP/1.1\r\nHost: shop.localhost\r\nAccept: application/json\r\n\r\n")
    status, headers, body = await client.answer()
    told = json.loads(body)
    assert (status, headers["content-type"]) == (503, "application/json")
    assert (told["status"], told["code"], told["request_id"]) == (503, "H14", headers["x-request-id"])
