"""The pure parts: frames, headers, lines, names, keys, places."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncssh
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gitserver import lines, pktline, requests
from gitserver.admission import Admission, FailureBuckets, network
from gitserver.child import SAFE_PATH, Child, ResourceLimits
from gitserver.git import is_protocol
from gitserver.header import PushHeader
from gitserver.keys import KeyCache, KeyError_, parse_public_key
from gitserver.policy import Refs, judge
from gitserver.ports import ZERO_ID, Limits, Principal, RefUpdate, Refused
from gitserver.testing import MemoryKeys

ONE, TWO = "1" * 40, "2" * 40
ANN = Principal("1", "ann", admin=True)


def header_bytes(
    capabilities: str = "report-status push-options", options: tuple[str, ...] = ("a", "b")
) -> bytes:
    out = pktline.frame(f"shallow {TWO}".encode())
    out += pktline.frame(f"{ZERO_ID} {ONE} refs/heads/main\0 {capabilities}".encode())
    out += pktline.frame(f"{ONE} {ZERO_ID} refs/tags/v1".encode()) + pktline.FLUSH
    for option in options:
        out += pktline.frame(option.encode())
    return out + pktline.FLUSH


@pytest.mark.parametrize("step", [1, 3, 7, 1000])
def test_a_header_is_read_whatever_way_it_is_cut(step: int) -> None:
    header, data = PushHeader(Limits()), header_bytes() + b"PACK\0\0\0\2\0\1\0\0 rest"
    packs = [header.feed(data[start : start + step]) for start in range(0, len(data), step)]
    assert header.complete
    assert any(packs)
    assert header.updates == [
        RefUpdate("refs/heads/main", ZERO_ID, ONE),
        RefUpdate("refs/tags/v1", ONE, ZERO_ID),
    ]
    assert header.shallow == [TWO]
    assert header.options == ["a", "b"]
    assert header.violations == []
    assert header.objects == 1 << 16
    assert sum(packs) == 17


def test_a_push_without_a_pack_has_none() -> None:
    header = PushHeader(Limits())
    assert not header.feed(header_bytes())
    assert header.complete


@given(st.binary(max_size=400))
def test_no_input_breaks_the_header_reader(data: bytes) -> None:
    header = PushHeader(Limits(ref_updates=2, push_options=1))
    header.feed(data)
    header.feed(data)
    assert len(header.updates) <= 2


@given(st.text(max_size=300))
def test_a_cleaned_line_has_nothing_but_text_and_colour(text: str) -> None:
    safe = lines.clean(text)
    without_colour = lines._SEQUENCE.sub("", safe)
    assert not any(ord(c) < 32 and c != "\t" for c in without_colour)
    assert not any(0x7F <= ord(c) <= 0x9F for c in without_colour)
    assert lines.clean(safe) == safe


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("\x1b[1;31mred\x1b[0m", "\x1b[1;31mred\x1b[0m"),
        ("10%\r20%\rdone\r\n", "done"),
        ("a\x1b]8;;http://x\x1b\\b", "ab"),
        ("a\x1b]0;title\x07b", "ab"),
        ("\x1b[2J\x1b[Hx\x1b[6n", "x"),
        ("\x9b31mx\x85", "x"),
        ("a\u202eb", "ab"),
        ("tab\tstays", "tab\tstays"),
        ("unfinished \x1b]0;never ends", "unfinished "),
    ],
)
def test_lines_are_cleaned(text: str, clean: str) -> None:
    assert lines.clean(text) == clean


def test_a_stream_is_cleaned_line_by_line_with_bounded_memory() -> None:
    cleaner = lines.LineCleaner()
    assert cleaner.feed(b"on") == b""
    assert cleaner.feed(b"e\ntw") == b"one\n"
    assert cleaner.feed("ö".encode()[:1]) == b""
    assert cleaner.close() == "tw\ufffd\n".encode()
    big = lines.LineCleaner()
    for _ in range(100):
        big.feed(b"x" * 10_000)
        assert len(big._rest) <= lines.MAX_LINE + 10_000


@pytest.mark.parametrize(
    "prefix", [b"0001", b"0003", b"fff5", b"-001", b"+004", b" 004", b"00", b"zzzz", b"0x04"]
)
def test_lengths_that_no_frame_has_are_errors(prefix: bytes) -> None:
    with pytest.raises(ValueError, match="pkt-line"):
        pktline.length(prefix)


def test_a_frame_has_a_greatest_length() -> None:
    assert pktline.length(pktline.frame(b"x" * pktline.MAX_DATA)[:4]) == pktline.MAX_DATA + 4
    with pytest.raises(ValueError, match="do not fit"):
        pktline.frame(b"x" * (pktline.MAX_DATA + 1))


@pytest.mark.parametrize(
    ("command", "request_"),
    [
        ("git-receive-pack 'shop'", requests.GitRequest("receive-pack", "shop")),
        ("git receive-pack '/shop.git'", requests.GitRequest("receive-pack", "shop")),
        ("git-upload-pack '~/shop/'", requests.GitRequest("upload-pack", "shop")),
        ('git  upload-pack "shop"', requests.GitRequest("upload-pack", "shop")),
        ("git-upload-pack 'a/b'", requests.GitRequest("upload-pack", "a/b")),
        ("git-upload-pack '~root/x'", requests.GitRequest("upload-pack", "~root/x")),
        ("logs -t -a shop", requests.CommandRequest("logs -t -a shop")),
        ("git-receive-packs x", requests.CommandRequest("git-receive-packs x")),
        ("git status", requests.CommandRequest("git status")),
        ("config:set A='unbalanced", requests.CommandRequest("config:set A='unbalanced")),
    ],
)  # fmt: skip
def test_command_lines_are_told_apart(command: str, request_: requests.Request) -> None:
    assert requests.parse(command) == request_


@pytest.mark.parametrize("value", ["version=0", "version=1", "version=2", "version=2:object-format=sha1"])
def test_git_protocol_values_that_pass(value: str) -> None:
    assert is_protocol(value)


@pytest.mark.parametrize(
    "value", ["", "version=3", "version=2\n", "version=2:A", "x", "version=2:" + "a" * 60]
)
def test_git_protocol_values_that_do_not(value: str) -> None:
    assert not is_protocol(value)


def judged(updates: list[RefUpdate], refs: Refs, limits: Limits | None = None) -> str | None:
    header = PushHeader(limits or Limits())
    header.updates = updates
    try:
        judge(header, updates, refs, limits or Limits())
    except Refused as refusal:
        return str(refusal)
    return None


@pytest.mark.parametrize("name", ["main", "feature/x-1", "v1.2.3", "a@b", "a_b+c"])
def test_usual_names_are_accepted(name: str) -> None:
    for space in ("heads", "tags"):
        assert judged([RefUpdate(f"refs/{space}/{name}", ZERO_ID, ONE)], Refs({}, None)) is None


@pytest.mark.parametrize(
    "ref",
    [
        "refs/heads/-x", "refs/heads/.x", "refs/heads/x.lock", "refs/heads/x.lock/y", "refs/heads/a..b",
        "refs/heads/a//b", "refs/heads/a/.b", "refs/heads/x.", "refs/heads/x/", "refs/heads/@", "refs/heads/a@{1}",
        "refs/heads/a b", "refs/heads/a~1", "refs/heads/a^", "refs/heads/a:b", "refs/heads/a?b", "refs/heads/a*",
        "refs/heads/a[b", "refs/heads/a\\b", "refs/heads/ä", "refs/heads/a\x7f", "refs/heads/HEAD", "refs/heads/head",
        "refs/heads/" + "x" * 300, "refs/heads", "refs/heads/", "HEAD", "main", "refs/stash", "refs/cygni/v1",
    ],
)  # fmt: skip
def test_strange_names_are_refused(ref: str) -> None:
    assert judged([RefUpdate(ref, ZERO_ID, ONE)], Refs({}, None))


def test_stale_ids_deletes_of_head_and_conflicts_are_refused() -> None:
    refs = Refs({"refs/heads/main": ONE, "refs/heads/a/b": ONE}, "refs/heads/main")
    assert judged([RefUpdate("refs/heads/main", TWO, "3" * 40)], refs)
    assert judged([RefUpdate("refs/heads/main", ZERO_ID, TWO)], refs)
    assert judged([RefUpdate("refs/heads/main", ONE, ZERO_ID)], refs)
    assert judged([RefUpdate("refs/heads/gone", ONE, ZERO_ID)], refs)
    assert judged([RefUpdate("refs/heads/gone", ZERO_ID, ZERO_ID)], refs)
    assert judged([RefUpdate("refs/heads/a", ZERO_ID, ONE)], refs)
    assert judged([RefUpdate("refs/heads/a/b/c", ZERO_ID, ONE)], refs)
    assert judged([RefUpdate("refs/heads/MAIN", ZERO_ID, ONE)], refs)
    two_at_once = [RefUpdate("refs/tags/x", ZERO_ID, ONE), RefUpdate("refs/tags/x/y", ZERO_ID, ONE)]
    assert judged(two_at_once, refs)
    assert (
        judged([RefUpdate("refs/heads/main", ONE, TWO), RefUpdate("refs/heads/a/b", ONE, ZERO_ID)], refs)
        is None
    )


def test_public_keys_are_read_and_weak_or_wrong_ones_explained() -> None:
    key = asyncssh.generate_private_key("ssh-ed25519", comment="ann@laptop")
    text = key.export_public_key().decode()
    parsed = parse_public_key(f"\n# mine\n{text}\n")
    assert parsed.fingerprint == key.get_fingerprint()
    assert parsed.comment == "ann@laptop"
    assert parsed.public == " ".join(text.split()[:2])
    weak = asyncssh.generate_private_key("ssh-rsa", key_size=1024).export_public_key().decode()
    for wrong, reason in (
        ("", "0 lines"),
        (text + text, "2 lines"),
        ("hello", "type hello"),
        ("ssh-ed25519 AAAA", "not a public key"),
        (f'command="sh" {text}', "not accepted"),
        (key.export_private_key().decode(), "private key"),
        (weak, "1024 bits"),
    ):
        with pytest.raises(KeyError_, match=reason):
            parse_public_key(wrong)


async def test_the_key_cache_forgets_in_time_and_never_remembers_unknown_keys() -> None:
    now = 0.0
    store = MemoryKeys()
    cache = KeyCache(store, seconds=30, size=2, clock=lambda: now)
    assert await cache.principal("a") is None
    store.principals["a"] = ANN
    assert await cache.principal("a") == ANN
    store.principals.clear()
    assert await cache.principal("a") == ANN
    now = 31
    assert await cache.principal("a") is None
    store.principals.update(dict.fromkeys("abc", ANN))
    for name in "abc":
        await cache.principal(name)
    assert len(cache._known) == 2
    store.principals.clear()
    assert await cache.fresh("c") is None
    assert await cache.principal("c") is None


async def test_places_are_given_in_turn_and_all_come_back() -> None:
    admission = Admission(Limits(unauthenticated=8, unauthenticated_per_address=2))
    tickets = [admission.enter("10.0.0.1") for _ in range(5)]
    assert all(tickets)
    started = [ticket.turn.done() for ticket in tickets if ticket]
    assert started == [True, True, False, False, False]
    other = [admission.enter("10.0.0.2") for _ in range(4)]
    assert [ticket is not None for ticket in other] == [True, True, True, False]
    assert tickets[3] and tickets[0]
    tickets[3].release(failed=False)
    tickets[0].release(failed=False)
    tickets[0].release(failed=False)
    assert tickets[2] and tickets[2].turn.done()
    for ticket in (*tickets, *other):
        if ticket:
            ticket.release(failed=False)
    assert admission._total == 0
    assert not admission._active
    assert not admission._waiting


def test_a_network_that_fails_too_often_is_refused_for_a_while() -> None:
    now = 0.0
    buckets = FailureBuckets(burst=3, per_second=1, clock=lambda: now)
    for _ in range(3):
        assert not buckets.empty("192.0.2.7")
        buckets.drain("192.0.2.7")
    assert buckets.empty("192.0.2.200")
    assert not buckets.empty("192.0.3.7")
    assert not buckets.empty("127.0.0.1")
    now = 2
    assert not buckets.empty("192.0.2.7")
    for number in range(5000):
        buckets.drain(f"10.{number // 250}.{number % 250}.1")
    assert len(buckets._buckets) <= 4096


def test_networks() -> None:
    assert network("192.0.2.7") == network("::ffff:192.0.2.9") == "192.0.2.0/24"
    assert network("2001:db8:0:1::5") == "2001:db8:0:1::/64"
    assert network("fe80::1%eth0") == "fe80::/64"
    assert network("local") == "local"


async def run(command: list[str], limits: ResourceLimits | None = None) -> tuple[int, bytes]:
    child = await Child.spawn(command, env={"PATH": SAFE_PATH}, limits=limits or ResourceLimits())
    child.stdin.close()
    out = b"".join([chunk async for chunk in child.stdout.stream])
    code = await child.wait()
    child.close()
    return code, out


async def test_a_child_has_its_limits_its_environment_and_nothing_else() -> None:
    limits = ResourceLimits(memory=512 << 20, cpu=7, file_size=1 << 20, open_files=64)
    _, out = await run(
        ["sh", "-c", "ulimit -v; ulimit -t; ulimit -n; ulimit -c; ls /proc/self/fd; env"], limits
    )
    words = out.decode().split()
    assert words[:4] == [str(512 << 10), "7", "64", "0"]
    assert [word for word in words[4:] if word.isdigit()] == ["0", "1", "2", "3"]  # 3 is ls's own
    assert "HOME" not in out.decode()


async def test_ending_a_child_ends_its_whole_group_even_if_it_ignores_the_request() -> None:
    child = await Child.spawn(
        ["sh", "-c", "trap '' TERM; sleep 1000 & echo $!; wait; wait"],
        env={"PATH": SAFE_PATH},
        limits=ResourceLimits(),
    )
    grandchild = int(await child.stdout.stream.readline())
    assert await child.end(grace=0.2) == -9
    child.close()
    stat = Path(f"/proc/{grandchild}/stat")
    async with asyncio.timeout(5):
        while stat.exists() and "Z" not in stat.read_text().split()[2]:
            await asyncio.sleep(0.01)


async def test_a_program_that_does_not_exist_leaves_no_descriptor_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    code, _ = await run(["no-such-program"])
    assert code == 127
    with pytest.raises(ValueError, match="null"):
        await Child.spawn(["a\0b"], env={}, limits=ResourceLimits())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(list(Path("/proc/self/fd").iterdir())) == before


async def test_children_cost_no_thread() -> None:
    import threading

    before = threading.active_count()
    children = [
        await Child.spawn(["cat"], env={"PATH": SAFE_PATH}, limits=ResourceLimits()) for _ in range(10)
    ]
    assert threading.active_count() == before
    for child in children:
        await child.end()
        child.close()
