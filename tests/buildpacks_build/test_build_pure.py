"""What needs no engine: ignore patterns, redaction, lines, progress, the order of a context, the answer's decoding."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildpacks.buildkit import context, ignore, trace
from buildpacks.buildkit.failure import from_engine, size_text
from buildpacks.buildkit.lines import LINE_CHARS, LineBuffer
from buildpacks.buildkit.messages import StatusResponse
from buildpacks.buildkit.progress import Progress
from buildpacks.buildkit.redact import HIDDEN, RedactedStream, Redactor
from buildpacks.ports import BuildLimits

NOTHING = Redactor(())


@pytest.mark.parametrize(
    ("patterns", "hidden", "kept"),
    [
        ("*.log", ["a.log"], ["d/a.log", "log"]),
        ("**/*.log", ["a.log", "d/a.log", "d/e/a.log"], ["a.logs"]),
        ("**.pyc", ["a.pyc", "d/a.pyc"], ["a.py"]),
        ("/node_modules/", ["node_modules/x/y"], ["d/node_modules/x"]),
        ("*\n!src", ["a", "d/e"], ["src/x/y"]),
        ("src\n!src/keep", ["src/a", "src/keeper"], ["src/keep", "src/keep/x"]),
        ("!src/keep\nsrc", ["src/keep"], ["other"]),
        ("docs/**", ["docs/a", "docs/a/b"], ["docs"]),
        ("a/**/z", ["a/z", "a/b/c/z"], ["a/b", "z"]),
        ("**", ["a", "a/b"], []),
        ("temp?", ["tempa"], ["temp", "tempab"]),
        ("[a-c].txt\n[^a-c].md", ["b.txt", "d.md"], ["d.txt", "b.md"]),
        ("a\\*b", ["a*b"], ["axb"]),
        ("# comment\n\n  spaced  \n.\n!", ["spaced"], ["# comment", "comment"]),
        ("./x/../y", ["y"], ["x"]),
        ("\ufeffbom", ["bom"], []),
        ("[broken\nok", ["ok"], ["[broken", "b"]),
        ("foo*bar*baz", ["foobarbaz", "foo-bar-baz", "foobarbarbazbaz"], ["foobaz"]),
    ],
)
def test_dockerignore_patterns(patterns: str, hidden: list[str], kept: list[str]) -> None:
    ignored = ignore.parse(patterns)
    assert ignored is not None
    assert [path for path in hidden if not ignored(path)] == []
    assert [path for path in kept if ignored(path)] == []


def test_a_file_without_patterns_ignores_nothing() -> None:
    assert ignore.parse("# nothing\n\n") is None


def test_hostile_patterns_take_no_time() -> None:
    ignored = ignore.parse("\n".join(["*a" * 30 + "b", "**/" * 50 + "z", "?*" * 40 + "x"] * 20))
    assert ignored is not None
    started = time.perf_counter()
    assert not ignored("/".join(["a" * 200] * 20))
    assert time.perf_counter() - started < 1


def test_a_dash_can_end_a_range_of_an_ignore_pattern() -> None:
    ignored = ignore.parse("a[+--]")
    assert ignored is not None
    assert [name for name in ("a+", "a,", "a-", "a.") if ignored(name)] == ["a+", "a,", "a-"]


@given(st.text(alphabet="ab*?[]^!\\/.-\n ", max_size=60), st.text(alphabet="ab./", min_size=1, max_size=20))
def test_any_pattern_gives_an_answer(patterns: str, path: str) -> None:
    ignored = ignore.parse(patterns)
    assert ignored is None or ignored(path) in {True, False}


SECRETS = ["hunter2-hunter2", "line one of key\nline two of key\nend", "aaaaab", "aaaaa"]


@given(
    st.lists(
        st.one_of(st.sampled_from(SECRETS), st.text(alphabet="hunter2-a lio\n", max_size=8)), max_size=8
    ),
    st.data(),
)
@settings(max_examples=300)
def test_however_output_is_cut_a_secret_never_comes_through(pieces: list[str], data: st.DataObject) -> None:
    text = " | ".join(pieces)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=10)))
    stream = RedactedStream(Redactor([SECRETS[0], SECRETS[1]]))
    shown = "".join(stream.feed(text[a:b]) for a, b in zip([0, *cuts], [*cuts, len(text)], strict=True))
    shown += stream.flush()
    assert SECRETS[0] not in shown
    assert "line one of key" not in shown
    assert "line two of key" not in shown
    assert shown.count(HIDDEN) >= pieces.count(SECRETS[0])


def test_nothing_is_lost_that_only_begins_like_a_secret() -> None:
    stream = RedactedStream(Redactor(["password"]))
    assert stream.feed("my pass") == "my "
    assert stream.feed("port ") == "passport "
    assert stream.feed("passw") == ""
    assert stream.flush() == "passw"


def test_values_of_an_environment_file_are_hidden_one_by_one() -> None:
    redactor = Redactor(["A='quoted value'\nexport B=\"other value\"\nC=plain-value\nN=3\n"])
    assert redactor.text("quoted value, other value, plain-value, 3") == ", ".join([HIDDEN] * 3) + ", 3"


def test_short_values_are_not_hidden() -> None:
    assert Redactor(["1", "true"]).text("1 true") == "1 true"


@pytest.mark.parametrize("before", ["", "a", "ab", "user:"])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
def test_base64_of_a_value_is_hidden_alone_and_inside_of_something_longer(
    before: str, encode: Callable[[bytes], bytes]
) -> None:
    value = "p\u00e4ss?>word-\u00ff1234567"
    shown = Redactor([value]).text(encode(f"{before}{value} and more".encode()).decode())
    assert HIDDEN in shown
    # What is left at its ends is decided by the neighbours too, and holds less than one character of the value.
    kept = shown.split(HIDDEN)
    assert len(kept) == 2
    assert len(kept[0]) <= (len(before) * 8 + 5) // 6 + 1


def test_base64_in_lines_is_hidden() -> None:
    pem = "".join(f"{number:04} {'x' * 57}\n" for number in range(20))
    lines = base64.encodebytes(pem.encode()).decode().splitlines()
    assert Redactor([pem]).text("\n".join(lines)).count(HIDDEN) == len(lines)


def test_many_long_values_do_not_slow_output_down() -> None:
    redactor = Redactor([f"value {number} " + "x" * 1500 for number in range(200)])
    stream = RedactedStream(redactor)
    began = time.perf_counter()
    for _ in range(200):
        stream.feed("compiling something or other, line by line\n" * 10)
    assert time.perf_counter() - began < 5


def test_a_half_line_is_shown_after_a_while_and_not_again() -> None:
    lines = LineBuffer(NOTHING)
    assert lines.feed(b"waiting", 0) == []
    assert lines.due(0.2) == []
    assert lines.due(0.6) == ["waiting"]
    assert lines.due(5) == []
    assert lines.feed(b" done\nnext", 5) == [" done"]
    assert lines.flush() == ["next"]


def test_progress_bars_are_shown_now_and_then_and_at_their_end() -> None:
    lines = LineBuffer(NOTHING)
    shown = []
    for step in range(100):
        shown += lines.feed(f"\r{step}%".encode(), step * 0.1)
        shown += lines.due(step * 0.1)
    shown += lines.feed(b"\r100%\nnext\r\n", 10)
    assert shown[-2:] == ["100%", "next"]
    assert 4 <= len(shown) <= 8


def test_lines_are_bounded_and_so_is_what_is_kept() -> None:
    lines = LineBuffer(NOTHING)
    shown = [line for _ in range(100) for line in lines.feed(b"x" * 1000, 0)]
    assert max(map(len, shown)) == LINE_CHARS
    assert len("".join(shown + lines.flush())) == 100_000


def test_terminal_control_is_taken_out_and_colour_stays() -> None:
    lines = LineBuffer(NOTHING)
    text = b"\x1b[31mred\x1b[0m \x1b[2Kclean\x1b]0;title\x07\x1b[1A\x00\x08 \xff \xe2\x9c\x93\n"
    assert lines.feed(text, 0) == ["\x1b[31mred\x1b[0m clean \ufffd \u2713"]


def test_a_character_cut_in_two_is_whole_again() -> None:
    lines = LineBuffer(NOTHING)
    assert lines.feed(b"\xe2\x9c", 0) == []
    assert lines.feed(b"\x93\n", 0) == ["\u2713"]


def vertex(name: str, **options: Any) -> trace.Vertex:
    values: dict[str, Any] = {
        "digest": name,
        "cached": False,
        "started": None,
        "completed": None,
        "error": "",
    }
    values |= options
    return trace.Vertex(name=name, **values)


def test_a_step_is_told_once_however_often_its_state_comes() -> None:
    progress = Progress(NOTHING)
    name = "[deps 2/3] RUN --mount=type=cache,id=token-pip,target=/c pip install \\\n   x"
    lines = progress.vertex(vertex(name))
    lines += progress.vertex(vertex(name, started=1.0))
    lines += progress.vertex(vertex(name, started=1.0))
    lines += progress.vertex(vertex(name, started=1.0, completed=3.26))
    lines += progress.vertex(vertex(name, started=1.0, completed=3.26))
    assert lines == ["       [deps 2/3] RUN pip install \\ x", "       [deps 2/3] DONE 2.3s"]


def test_the_first_failing_step_counts_and_not_those_it_stopped() -> None:
    progress = Progress(NOTHING)
    progress.vertex(vertex("[a 2/2] RUN x", started=1.0))
    progress.vertex(vertex("[b 2/2] RUN y", started=1.0))
    lines = progress.vertex(vertex("[a 2/2] RUN x", started=1.0, completed=2.0, error="context canceled"))
    progress.vertex(vertex("[b 2/2] RUN y", started=1.0, completed=2.0, error="exit code: 7"))
    error = from_engine("rpc error", progress, BuildLimits())
    assert lines == ["       [a 2/2] STOPPED 1.0s"]
    assert (error.step, error.exit_code) == ("[b 2/2] RUN y", 7)


def test_the_streams_of_a_step_do_not_cut_each_others_lines() -> None:
    progress = Progress(NOTHING)
    progress.vertex(vertex("[2/2] RUN cat x || echo no", started=1.0))
    chunks = [(2, b"cat: "), (1, b"no\n"), (2, b"x: No such file\n")]
    lines = [
        line
        for stream, data in chunks
        for line in progress.output(trace.Output("[2/2] RUN cat x || echo no", data, stream), 0)
    ]
    assert [line.strip() for line in lines] == ["no", "cat: x: No such file"]


CLIPPED = b"\n[output clipped, log limit 1MiB reached]\n"


def flooding_at(*output: tuple[float, bytes], ended: float | None = None) -> list[float]:
    """The seconds at which a step counts as flooding that printed this."""
    progress = Progress(NOTHING)
    progress.vertex(vertex("[2/2] RUN yes", started=1.0))
    for at, data in output:
        progress.output(trace.Output("[2/2] RUN yes", data), at)
    if ended is not None:
        progress.vertex(vertex("[2/2] RUN yes", started=1.0, completed=ended))
    return [at for at in range(0, 200, 10) if progress.flooding(at, seconds=30)]


def test_a_step_that_begins_with_more_than_can_be_shown_and_goes_on_is_flooding() -> None:
    assert flooding_at((0, b"y\n"), (11, CLIPPED))[0] == 50
    assert flooding_at((0, b"y\ny" + CLIPPED.replace(b"1MiB", b"100KiB/s")))[0] == 30


def test_a_step_that_printed_for_a_while_before_may_go_on() -> None:
    assert flooding_at((0, b"y\n"), (100, CLIPPED)) == []


def test_output_that_comes_back_was_only_too_fast() -> None:
    fast = b"\n[output clipped, log limit 100KiB/s reached]\n"
    assert flooding_at((0, fast), (20, b"done\n")) == []


def test_a_flood_that_ended_is_none() -> None:
    assert flooding_at((0, b"y\n"), (11, CLIPPED), ended=20.0) == []


@pytest.mark.parametrize(
    ("message", "cause", "text"),
    [
        ("executor failed running [/bin/sh -c x]: exit code: 137", "memory", "out of memory (limit 2 GB)"),
        ('process "/bin/sh -c x" did not complete successfully: exit code: 2', "exit", "exit code 2"),
        ("failed to solve with frontend dockerfile.v0: failed to read dockerfile: x", "syntax", "failed to read dockerfile: x"),
        ("dockerfile parse error line 3: unknown instruction: FOO", "syntax", "line 3: unknown instruction: FOO"),
        ("write /x: no space left on device", "disk", "no space left on device"),
        ("rpc error: transport is closing", "engine", "transport is closing"),
        ("context canceled", "cancelled", "the build was cancelled"),
    ],
)  # fmt: skip
def test_the_engines_words_have_a_cause(message: str, cause: str, text: str) -> None:
    error = from_engine(message, Progress(NOTHING), BuildLimits())
    assert error.cause == cause
    assert text in str(error)


def test_sizes_as_people_say_them() -> None:
    assert [size_text(size) for size in (100, 2 << 10, 200 << 20, 3 << 29)] == [
        "100 bytes",
        "2 KB",
        "200 MB",
        "1.5 GB",
    ]


def test_a_context_lists_parents_first_and_by_the_bytes_of_each_name() -> None:
    files = [context.File(path, 0o644) for path in ("a/b/c", "a.b", "a-b", "a/b.c", "\u00fc/x", "b")]
    listed = [file.path for file in context.with_directories(files)]
    assert listed == ["a", "a/b", "a/b/c", "a/b.c", "a-b", "a.b", "b", "\u00fc", "\u00fc/x"]


async def pieces(data: bytes, size: int) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


def message_of(**fields: Any) -> bytes:
    status = StatusResponse(**fields).SerializeToString()
    return (
        json.dumps({"id": "moby.buildkit.trace", "aux": base64.b64encode(status).decode()}).encode() + b"\n"
    )


@pytest.mark.parametrize("size", [1, 7, 1 << 20])
async def test_an_answer_is_decoded_however_it_is_cut(size: int) -> None:
    answer = message_of(
        vertexes=[{"digest": "d", "name": "n", "cached": True}],
        logs=[{"vertex": "d", "stream": 2, "msg": b"hi"}],
    )
    answer += b'{"id":"moby.image.id","aux":{"ID":"sha256:1"}}\n{"stream":"x"}\n{"error":"bad"}'
    found = [event async for event in trace.events(pieces(answer, size))]
    assert found == [
        trace.Vertex("d", "n", cached=True, started=None, completed=None, error=""),
        trace.Output("d", b"hi", 2),
        trace.ImageId("sha256:1"),
        trace.BuildError("bad"),
    ]


@pytest.mark.parametrize("answer", [b"not json\n", b'{"id":"moby.buildkit.trace","aux":"%%%"}\n', b"[1]\n"])
async def test_another_answer_is_an_error(answer: bytes) -> None:
    with pytest.raises(trace.TraceError):
        [event async for event in trace.events(pieces(answer, 100))]


async def test_an_endless_message_is_an_error() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"x" * (1 << 20)

    with pytest.raises(trace.TraceError, match="more than"):
        [event async for event in trace.events(endless())]
