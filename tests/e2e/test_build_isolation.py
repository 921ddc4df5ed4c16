"""Builds against each other and against whoever looks on: cancelled ones, other apps' images and caches, secrets."""

import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from uuid import uuid4

import pytest
from apps import app
from tests_support import Push, Repository, Server, command_lines, engine, eventually

pytestmark = pytest.mark.docker

Make = Callable[[Mapping[str, str]], Repository]
STACK = "cygni-stack/debian-bookworm:run"


def dockerfile(*lines: str) -> dict[str, str]:
    return {**app(), "Dockerfile": "\n".join([*lines, 'CMD ["python3", "server.py"]', ""])}


def up(push: Push) -> object:
    """The step prints by now."""
    assert "rejected" not in push.output, push.output
    return re.search(r"^remote: +up\b", push.output, re.MULTILINE)


def test_a_cancelled_build_stops_in_the_engine(server: Server, repository: Make) -> None:
    work = repository(app())
    server.push(work, "cancelled")
    marker = uuid4().hex
    work.commit(dockerfile(f"FROM {STACK}", f"RUN echo up; trap '' TERM; sleep 300; : {marker}"))
    push = Push(server, work, "cancelled")
    eventually(lambda: up(push), 60)
    assert command_lines(marker)
    told = server.ssh("builds:cancel", "-a", "cancelled")
    assert "Cancelling build 2 of cancelled... done" in told.stderr
    assert push.code != 0
    assert "Cancelled by tester" in push.output
    assert "The build was cancelled. Nothing was changed." in push.output
    eventually(lambda: not command_lines(marker))
    assert "cancelled" in server.ssh("builds", "-a", "cancelled").stdout.splitlines()[1]
    assert server.get("cancelled") == (200, "one v1")


def test_the_client_that_asked_for_it_cancels_by_leaving(server: Server, repository: Make) -> None:
    work = repository(app())
    server.push(work, "left")
    marker = uuid4().hex
    work.commit(dockerfile(f"FROM {STACK}", f"RUN echo up; sleep 300; : {marker}"))
    push = Push(server, work, "left", "--push-option=on-disconnect=cancel")
    eventually(lambda: up(push), 60)
    push.interrupt()
    assert push.code != 0
    eventually(lambda: not command_lines(marker))
    eventually(lambda: "cancelled" in server.cygni("builds", "left").stdout.splitlines()[1])


@pytest.fixture(scope="module")
def victim(server: Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Name and id of an image of another app that holds something private."""
    files = dockerfile(
        f"FROM {STACK}",
        "COPY . .",
        "RUN --mount=type=cache,id=shared,target=/c echo private-in-cache > /c/note && echo private > /note",
    )
    server.push(Repository(tmp_path_factory.mktemp("victim") / "work", files), "victim")
    with engine() as client:
        image = client.images.get(server.images("victim")[0])
        return str(image.tags[0]), str(image.id)


@pytest.mark.parametrize(
    "lines",
    [
        ["FROM {name}"],
        ["FROM {id}"],
        ["ARG A={name}", "FROM $A"],
        ["ARG A={name}", "ARG B=${{A}}", "FROM ${{B:-x}}"],
        ["FROM {stack}", "COPY --from={name} /note /note"],
        ["FROM {stack}", "RUN --mount=type=bind,from={name},target=/v cat /v/note"],
        ["ARG A={name}", "FROM {stack}", "ARG A", "RUN --mount=type=bind,from=$A,target=/v cat /v/note"],
    ],
)
def test_the_image_of_another_app_is_out_of_reach(
    server: Server, repository: Make, victim: tuple[str, str], lines: list[str]
) -> None:
    """Even for somebody who knows its name, which holds a token."""
    name, image = victim
    files = dockerfile(*(line.format(name=name, id=image, stack=STACK) for line in lines))
    pushed = server.push(repository(files), "thief", check=False)
    assert pushed.returncode != 0
    text = re.sub(r"remote: ?", "", pushed.stderr)
    assert re.search(r"Dockerfile line \d+ (names an image of this server|cannot be checked)", text), text
    assert "push again" in text
    assert "-----> Building" not in text


def test_a_frontend_of_another_app_is_not_used(
    server: Server, repository: Make, victim: tuple[str, str]
) -> None:
    files = dockerfile(f"# syntax={victim[0]}", f"FROM {STACK}", "COPY . .")
    pushed = server.push(repository(files), "frontend").stderr
    assert "syntax" in pushed
    assert server.get("frontend") == (200, "one v1")


def test_the_cache_of_another_app_is_out_of_reach(
    server: Server, repository: Make, victim: tuple[str, str]
) -> None:
    """Neither by the name that both use nor by the one that the engine knows."""
    token = victim[0].partition(":")[0].rpartition("-")[2]
    ids = ["shared", f"{token}-shared", f"{token}/shared"]
    steps = [
        f"RUN --mount=type=cache,id={name},target=/c cat /c/* || echo nothing-of-{n}"
        for n, name in enumerate(ids)
    ]
    pushed = server.push(repository(dockerfile(f"FROM {STACK}", "COPY . .", *steps)), "cachethief").stderr
    assert "private-in-cache" not in pushed
    for n in range(len(ids)):
        assert re.search(rf"^remote: +nothing-of-{n}\b", pushed, re.MULTILINE), pushed


def test_a_secret_shows_in_no_process_image_or_file_of_the_server(server: Server, repository: Make) -> None:
    work = repository(app())
    server.push(work, "discreet")
    value = f"value-{uuid4().hex}"
    server.ssh("config:set", "-a", "discreet", f"API_TOKEN={value}")
    step = "RUN --mount=type=secret,id=app-env . /run/secrets/app-env; echo up; test -n $API_TOKEN; sleep 8; true"
    work.commit(dockerfile(f"FROM {STACK}", "COPY . .", step))
    push = Push(server, work, "discreet")
    eventually(lambda: up(push), 60)
    assert command_lines("/run/secrets/app-env")
    assert command_lines(value) == []
    assert push.code == 0, push.output
    with engine() as client:
        for image in server.images("discreet"):
            assert value not in str(client.images.get(image).attrs)
            assert value not in str(client.images.get(image).history())
    assert files_with(value, server.data.parent) == []


def test_the_result_of_a_step_with_a_secret_is_not_used_for_other_values_or_apps(
    server: Server, repository: Make
) -> None:
    """The same source in two apps: without care the second would get what the first one's secret went into."""
    step = "RUN --mount=type=secret,id=app-env . /run/secrets/app-env; echo $GREETING > greeting"
    page = app()["server.py"].replace('("one " + os.environ["CYGNI_RELEASE"])', 'open("greeting").read()')
    files = {**dockerfile(f"FROM {STACK}", "WORKDIR /app", "COPY . .", step), "server.py": page}
    for name, greeting in (("first-of-two", "hello-from-one"), ("second-of-two", "hello-from-two")):
        server.ssh("apps:create", name)
        server.ssh("config:set", "-a", name, f"GREETING={greeting}")
        server.push(repository(files), name)
        assert server.get(name) == (200, f"{greeting}\n")
    server.ssh("config:set", "-a", "first-of-two", "GREETING=hello-again")
    server.push(repository(files), "first-of-two", "--force")
    assert server.get("first-of-two") == (200, "hello-again\n")


def files_with(text: str, folder: Path) -> list[str]:
    found = subprocess.run(
        ["grep", "-rlF", "-D", "skip", "-e", text, str(folder)], capture_output=True, text=True, check=False
    )
    return found.stdout.split()
