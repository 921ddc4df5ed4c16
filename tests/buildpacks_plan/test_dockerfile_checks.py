"""Attacks on the checks of own Dockerfiles: no app may read another one through the builder."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildpacks.dockerfile import check, rewrite
from buildpacks.dockerfile_images import is_foreign
from buildpacks.dockerfile_mounts import parse_mount
from buildpacks.dockerfile_syntax import parse
from buildpacks.plan import Failure, Plan, PlanError

PREFIX = "token-0123456789"


def refusal(text: str) -> Failure:
    with pytest.raises(PlanError) as caught:
        check(text)
    return caught.value.failure


FOREIGN = [
    "FROM cygni/victim:v1",
    "FROM docker.io/cygni/victim",
    "FROM index.docker.io/cygni/victim@sha256:" + "a" * 64,
    "FROM registry.example.com/cygni/victim",
    "FROM localhost:5000/cygni/victim:1",
    "FROM --platform=linux/amd64 cygni/victim AS x",
    "FROM cygni-0a1b2c3d/victim-token:key",
    "FROM docker.io/cygni-0a1b2c3d/victim-token:key",
    "ARG S=0a1b2c3d\nFROM cygni-${S}/victim-token:key",
    "FROM alpine\nCOPY --from=CYGNI-0a1b2c3d/victim-token:key / /x",
    "from cygni/victim",
    "  FROM   cygni/victim",
    "\ufeffFROM cygni/victim",
    "FROM \\\n  cygni/victim",
    "FROM cyg\\\nni/victim",
    "FROM cyg\\\n# comment\n\nni/victim",
    "FROM cygni/victim\r",
    "FR\\\nOM cygni/victim",
    'FROM "cygni/victim"',
    'FROM cyg"ni"/victim',
    "FROM cyg'ni'/victim",
    "ARG A=cygni/victim\nFROM $A",
    "ARG A=cygni/victim\nFROM ${A}",
    'ARG A="cygni/victim"\nFROM ${A}',
    "ARG A=cygni\nARG B=$A/victim\nFROM $B",
    "ARG A\nFROM ${A:-cygni/victim}",
    "FROM ${UNSET:-cygni/victim}",
    "ARG A=x\nFROM ${A:+cygni/victim}",
    "ARG B=cygni/victim\nARG A='x B=alpine y'\nFROM $B",
    "FROM alpine\nCOPY --from=cygni/victim / /x",
    "FROM alpine\nCOPY --chown=1 --from=cygni/victim / /x",
    "FROM alpine\ncopy --from=docker.io/cygni/victim / /x",
    "FROM alpine\nRUN --mount=type=bind,from=cygni/victim,target=/x cat /x/secret",
    "FROM alpine\nRUN --mount=from=cygni/victim,target=/x cat /x/secret",
    "FROM alpine\nRUN --mount=target=/x,FROM=cygni/victim cat /x/secret",
    "FROM alpine\nRUN --mount=type=cache,from=cygni/victim,target=/x cat /x/secret",
    "FROM alpine\nRUN --mount=type=tmpfs,target=/t --mount=from=cygni/victim,target=/x cat /x",
    "FROM alpine\nRUN --mount=from=\\\ncygni/victim,target=/x cat /x",
    "FROM alpine\nONBUILD COPY --from=cygni/victim / /x",
    "FROM alpine\nONBUILD RUN --mount=from=cygni/victim,target=/x true",
    "# escape=`\nFROM alpine\nRUN echo \\\nCOPY --from=cygni/victim / /x",
    "FROM alpine\nRUN echo `\nCOPY --from=cygni/victim / /x",
    "FROM sha256:" + "a" * 64,
    "FROM " + "0123456789ab",
    "FROM alpine\nCOPY --from=deadbeefcafe / /x",
    "FROM alpine AS deadbeefcafe\nFROM alpine\nCOPY --from=DEADBEEFCAFE / /x",
]


@pytest.mark.parametrize("text", FOREIGN)
def test_no_spelling_reaches_an_image_of_another_app(text: str) -> None:
    assert refusal(text).id in {"dockerfile/foreign-image", "dockerfile/syntax", "dockerfile/unclear"}


UNCLEAR = [
    "FROM ${HTTP_PROXY:+cygni/victim}x\n",
    "ARG HTTP_PROXY\nFROM ${HTTP_PROXY:+cygni/victim}",
    "ARG https_proxy=x\nFROM $https_proxy",
    "FROM ${TARGETVARIANT:+cygni/victim}",
    "ARG CYGNI_SECRETS_HASH=a\nFROM x$CYGNI_SECRETS_HASH",
    "ARG BUILDKIT_SYNTAX=x\nFROM $BUILDKIT_SYNTAX",
    "ARG A=a\nFROM ${A#x}",
    "ARG A=a\nFROM ${A-cygni/victim}",
    "ARG A=a\nFROM ${A/a/cygni}",
    "ARG A=a\nFROM ${A:-${B}}",
    "ARG A=cygni/victim\nARG A\nFROM $A",
    "ARG A=alpine\nARG A=cygni/victim\nFROM $A",
    "ARG A=a\\b\nFROM $A",
    'ARG A="a\nFROM $A',
    "FROM cyg\\ni/victim",
    "FROM alpine\nCOPY --from=$A / /x",
    "FROM alpine\nRUN --mount=from=${A},target=/x true",
    "FROM alpine\nRUN --mount=type=$A,from=x true",
    "FROM alpine\nRUN --mount=type=bind,type=cache,target=/x true",
    "FROM alpine\nRUN --mount=type=cache,id=a,id=b,target=/x true",
    "FROM alpine\nCOPY --from=+0 / /x",
]


@pytest.mark.parametrize("text", UNCLEAR)
def test_what_cannot_be_known_before_the_build_is_refused(text: str) -> None:
    assert refusal(text).id in {"dockerfile/unclear", "dockerfile/syntax", "dockerfile/foreign-image"}


AMBIGUOUS = [
    "FROM alpine\nRUN echo \\\\\nCOPY --from=x / /x",
    "FROM alpine\nCOPY --fr\\om=cygni/victim / /x",
    'FROM alpine\nRUN --mount=type=cache,"id=x",target=/x true',
    "FROM alpine\rCOPY --from=cygni/victim / /x",
    "FROM alpine\x0bCOPY",
    "FROM alpine\u2028COPY --from=cygni/victim / /x",
    "FROM\u00a0cygni/victim",
    "FROM alpine\n\u00a0RUN\u2003x",
    "# escape=x\nFROM alpine",
    "# escape=`\n# escape=\\\nFROM alpine",
    '{"syntax": "evil"}\nFROM alpine',
    "// syntax=evil\nFROM alpine",
    "RUN x\nFROM alpine",
    "FROM alpine x y",
    "FROM alpine\nEVIL x",
    "FROM alpine\nONBUILD FROM x",
    "FROM alpine\nONBUILD ONBUILD RUN x",
    "FROM \x00",
    "FROM alpine\nRUN " + "x" * 70_000,
]


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_two_parsers_may_read_differently_is_refused(text: str) -> None:
    assert refusal(text).id in {"dockerfile/syntax", "dockerfile/unclear"}


@pytest.mark.parametrize(
    ("line", "feature"),
    [
        ("RUN <<EOF\necho\nEOF", "a here-document (<<)"),
        ("COPY <<-'EOF' /x\nEOF", "a here-document (<<)"),
        ("RUN <\\\n<EOF", "a here-document (<<)"),
        ("ONBUILD RUN 3<<EOF", "a here-document (<<)"),
        ("COPY --link a b", "COPY --link"),
        ("COPY --parents a b", "COPY --parents"),
        ("ADD --checksum=sha256:x a b", "ADD --checksum"),
        ("RUN --network=host x", "RUN --network"),
        ("RUN --security=insecure x", "RUN --security"),
        ("HEALTHCHECK --start-interval=1s CMD x", "HEALTHCHECK --start-interval"),
        ("RUN --mount=type=secret,id=a,env=A x", "a secret as a variable (env=)"),
    ],
)
def test_what_the_engine_lacks_is_named_with_its_line(line: str, feature: str) -> None:
    failure = refusal(f"FROM alpine\n\n{line}\n")
    assert failure.id == "dockerfile/unsupported"
    assert failure.title == f"Dockerfile line 3 uses {feature}, which the build engine does not have."


ALLOWED = [
    "FROM cygni-stack/debian-bookworm:run",
    "FROM scratch",
    "FROM ghcr.io/owner/name:1.2@sha256:" + "a" * 64,
    "ARG V=22\nARG D='-slim'\nFROM node:${V}$D AS build\nFROM build\nCOPY --from=build --chown=1 /a /b\nCOPY --from=0 /a /b",
    "ARG V\nFROM node:${V:-22}",
    'ARG A="hello world" B=node\nFROM $B',
    "FROM base-$TARGETARCH",
    "FROM node AS Build\nFROM x\nCOPY --from=BUILD a b",
    "FROM x\nRUN --mount=type=secret,id=app-env . /run/secrets/app-env && make",
    "FROM x\nRUN --mount=type=bind,target=/src --mount=type=tmpfs,target=/t make",
    "FROM x\nRUN echo $((1<<2)) && cat <<< x; a << b",
    'FROM x\nENV A=$B\\ c\nLABEL x="a\\"b"\nRUN echo "a \\\n  # comment\n\n b"',
    'FROM x\nCMD ["sh", "-c", "echo \'cygni/victim\'"]\nRUN docker pull cygni/victim',
]


@pytest.mark.parametrize("text", ALLOWED)
def test_ordinary_dockerfiles_pass(text: str) -> None:
    check(text)
    assert rewrite(text, PREFIX) == text.rstrip("\n") + "\n"


def test_a_syntax_line_is_dropped_with_a_note_and_line_numbers_stay() -> None:
    text = "# syntax=docker/dockerfile:1\n# escape=`\n# check=skip=all\nFROM alpine\nRUN echo `\n  x\n"
    assert [note.id for note in check(text).notes] == ["dockerfile/syntax-dropped", "dockerfile/no-port"]
    assert rewrite(text, PREFIX) == "# escape=`\n\n\nFROM alpine\nRUN echo `\n  x\n"


@pytest.mark.parametrize(
    "head",
    [
        "# syntax=evil",
        "#syntax = evil",
        "# SYNTAX=evil",
        "# a=b\n# syntax=evil",
        "#!/x\n# syntax=evil",
        "\ufeff# syntax=evil",
    ],
)
def test_no_directive_survives_at_the_top(head: str) -> None:
    written = rewrite(f"{head}\nFROM alpine\n", PREFIX)
    assert written.startswith("\n")


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ("type=cache,target=/root/.npm", "id=token-0123456789-own-/root/.npm"),
        ("target=/x,type=cache,id=victim-pip", "id=token-0123456789-own-victim-pip"),
        ("TYPE=cache,ID=victim,dst=/x", "id=token-0123456789-own-victim"),
        ("type=cache,id=$A,target=/x", "id=token-0123456789-own-$A"),
        ("type=cache,id=,target=/x", "id=token-0123456789-own-/x"),
        ("type=cache,id,target=/x", "id=token-0123456789-own-/x"),
        ("type=cache,target=/x,sharing=locked,ro", "id=token-0123456789-own-/x"),
    ],
)
def test_every_cache_is_the_apps_own(mount: str, expected: str) -> None:
    text = f"FROM alpine\nRUN --mount={mount} \\\n  # why\n  make && \\\n  true\nONBUILD RUN --mount={mount} x\nCMD y\n"
    check(text)
    written = rewrite(text, PREFIX)
    ids = re.findall(r"\bid=[^\s,]*", written, re.IGNORECASE)
    assert ids == [expected, expected]
    assert written.splitlines()[6:] == text.splitlines()[6:] or written.splitlines()[-1] == "CMD y"
    assert len(written.splitlines()) == len(text.splitlines())


@pytest.mark.parametrize(
    ("mount", "expected"),
    [
        ("type=secret,id=app-env", "type=secret,id=app-env-1a,target=/run/secrets/app-env"),
        ("type=secret,id=app-env,required", "type=secret,required,id=app-env-1a,target=/run/secrets/app-env"),
        ("type=secret,src=app-env,dst=/s", "type=secret,dst=/s,id=app-env-1a"),
        ("type=secret,target=/run/secrets/app-env", "type=secret,target=/run/secrets/app-env,id=app-env-1a"),
        ("type=secret,id=other", "type=secret,id=other"),
    ],
)
def test_the_secret_is_named_by_app_and_values_where_its_step_may_be_cached(
    mount: str, expected: str
) -> None:
    text = f"FROM alpine\nRUN --mount={mount} make\n"
    check(text)
    assert rewrite(text, PREFIX, "app-env-1a") == f"FROM alpine\nRUN --mount={expected} make\n"


def test_the_web_port_is_the_first_tcp_port_of_the_last_stage() -> None:
    text = "FROM a AS x\nEXPOSE 1\nFROM b AS base\nEXPOSE 3001/udp 3000/tcp\nEXPOSE 3003\nFROM base\n"
    assert check(text).exposed == 3000
    assert check("FROM a\nEXPOSE $PORT 99999 0 8080-8090/TCP").exposed == 8080
    assert check("FROM a\nEXPOSE 53/udp").exposed is None


def test_an_arg_named_like_config_gets_a_note() -> None:
    notes = check("FROM a\nARG API_KEY\nARG OTHER", env_names=frozenset({"API_KEY"})).notes
    assert [note.id for note in notes] == ["dockerfile/config-arg", "dockerfile/no-port"]
    assert "line 2" in notes[0].text


def test_the_images_own_command_stays_unless_a_procfile_says_otherwise(planned: Callable[..., Plan]) -> None:
    own = planned({"Dockerfile": "FROM a\nEXPOSE 80"})
    assert own.web is not None
    assert own.web.argv == ()
    assert own.port.exposed == 80
    other = planned({"Dockerfile": "FROM a", "Procfile": "web: x"})
    assert other.web is not None
    assert other.web.argv == ("/bin/sh", "-c", "exec x")


@given(st.lists(st.sampled_from(["FROM ", "COPY --from=", "RUN --mount=", "cygni", "/v", "\\", "\n", "$", "A", "{", "}", "'", '"', " ", "#", "ARG A=", "<<", "type=cache,id=", "x", "`", "\r", "AS "]), max_size=30).map("".join))  # fmt: skip
def test_soup_is_refused_or_understood(text: str) -> None:
    """Whatever is accepted names no app's image in any instruction, and is accepted again after the rewrite."""
    try:
        check(f"FROM a\n{text}")
    except PlanError:
        return
    written = rewrite(f"FROM a\n{text}", PREFIX)
    check(written)
    for instruction in parse(written).instructions:
        if instruction.keyword in {"COPY", "FROM"}:
            names = [flag.partition("=")[2] for flag in instruction.flags if flag.startswith("--from")]
            assert not any(is_foreign(name) for name in names)
        if instruction.keyword == "RUN":
            mounts = [parse_mount(flag.removeprefix("--mount=")) for flag in instruction.flags]
            assert all(
                str(mount.fields["id"]).startswith(PREFIX) for mount in mounts if mount.kind == "cache"
            )
