"""The table and the messages as values; the relay's order of acknowledgements."""

from __future__ import annotations

import json
import time

import pytest

from router import feed
from router.errors import FeedError
from router.table import AppRoute, Table, Target

TARGET = Target("i1", "web.1", "10.0.0.1", 5000)


def route(app_id: str, *hosts: str) -> AppRoute:
    return AppRoute(app_id, app_id, hosts, (TARGET,))


def test_an_exact_name_wins_over_a_wildcard_and_a_wildcard_is_one_label() -> None:
    table = Table(1, [route("w", "*.example.com"), route("e", "Shop.Example.com.")])
    assert table.lookup("shop.example.com:80") == table.routes["e"]
    assert table.lookup("blog.example.com") == table.routes["w"]
    assert table.lookup("a.b.example.com") is None
    assert table.lookup("example.com") is None
    assert table.lookup("") is None
    assert Table(1, [route("v6", "[::1]")]).lookup("[::1]:8080") is not None


def test_a_host_belongs_to_one_app_and_is_free_again_when_that_app_lets_go() -> None:
    table = Table(1, [route("a", "x.test"), route("b", "x.test", "b.test")])
    assert table.lookup("x.test") == table.routes["a"]
    moved = table.with_route(route("a", "a.test"), 2)
    assert moved.lookup("x.test") == moved.routes["b"]
    gone = table.without("a", 2)
    assert gone.lookup("x.test") == gone.routes["b"]
    assert (table.version, moved.version) == (1, 2)
    assert table.lookup("a.test") is None, "the old table is unchanged"


def test_with_ten_thousand_apps_a_swap_takes_milliseconds_and_a_lookup_microseconds() -> None:
    table = Table(1, [route(f"a{n}", f"a{n}.example.com", f"www.a{n}.test") for n in range(10_000)])
    started = time.perf_counter()
    table = table.with_route(route("a5000", "a5000.example.com", "www.a5000.test"), 2)
    assert time.perf_counter() - started < 0.05
    started = time.perf_counter()
    for n in range(10_000):
        assert table.lookup(f"a{n}.example.com") is not None
    assert time.perf_counter() - started < 0.5


@pytest.mark.parametrize(
    "message",
    [
        feed.Subscribe(),
        feed.Snapshot(3, (route("a", "x.test"), AppRoute("b", "b", (), (), "hold"))),
        feed.Change(4, route("a", "x.test")),
        feed.Remove(5, "a"),
        feed.Drain(1, "a", ("i1", "i2")),
        feed.Stop(),
        feed.Hello(1, 8080, 2, 99),
        feed.Ack(7),
        feed.Drained(1, "a", ("i1",)),
        feed.Access(1, (feed.AccessLine("a", 1.5, 'path="/é"'),)),
        feed.LastRequests({"a": 2.5}),
        feed.Ejected("a", "i1", "refused", 0.5, 3.0),
        feed.Wake("a", 3.0),
        feed.Dropped(9),
    ],
)
def test_messages_survive_the_wire(message: feed.Message) -> None:
    line = feed.encode(message)
    assert line.count(b"\n") == 1
    assert feed.decode(line) == message


def test_an_access_batch_can_be_counted_without_being_read() -> None:
    lines = [feed.AccessLine("a", 1.0, f"line {n}\n") for n in range(12)]
    encoded = feed.encode_access([json.dumps(line).encode() for line in lines])
    assert feed.access_count(encoded) == 12
    assert feed.decode(encoded) == feed.Access(12, tuple(lines))
    assert feed.access_count(feed.encode(feed.Ack(1))) is None


@pytest.mark.parametrize("line", [b"", b"{}", b'{"type":"unknown"}', b'{"type":"ack","version":"x"}', b"[1]"])
def test_what_is_no_message_is_an_error(line: bytes) -> None:
    with pytest.raises(FeedError):
        feed.decode(line)
