"""What holds for all tests: those that need a container engine fail or are skipped loudly without one."""

import gc
import os
import socket
from collections.abc import Iterator

import pytest
from postgres import PostgreSQL, programs, running_postgres

MISSING = pytest.StashKey[str]()
SKIPPED = pytest.StashKey[int]()


def _cause_of_absence() -> str:
    """Why no engine answers on its socket; empty when one does."""
    path = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock").removeprefix("unix://")
    try:
        with socket.socket(socket.AF_UNIX) as engine:
            engine.settimeout(10)
            engine.connect(path)
            engine.sendall(b"GET /_ping HTTP/1.0\r\nHost: engine\r\n\r\n")
            answer = engine.recv(100)
    except OSError as error:
        return f"{path}: {error}"
    return "" if b" 200 " in answer else f"{path} answers {answer[:60]!r}"


def _is_required() -> bool:
    """In CI an engine is a must, unless said otherwise: a skipped test proves nothing there."""
    return os.environ.get("CI", "") == "true" and os.environ.get("CYGNI_REQUIRE_DOCKER") != "0"


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") is None:
        return
    stash = item.config.stash
    if MISSING not in stash:
        stash[MISSING] = _cause_of_absence()
    if not stash[MISSING]:
        return
    reason = f"NO DOCKER ENGINE ANSWERS, and script/setup could not start one: {stash[MISSING]}"
    if _is_required():
        pytest.fail(reason, pytrace=False)
    stash[SKIPPED] = stash.get(SKIPPED, 0) + 1
    pytest.skip(reason)


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgreSQL]:
    """One PostgreSQL server for the whole run; every test makes its own database on it."""
    if programs() is None:
        reason = "NO POSTGRESQL IS INSTALLED, and script/setup could not install it"
        if os.environ.get("CI", "") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    with running_postgres() as server:
        yield server


@pytest.fixture(autouse=True, scope="module")
def _nothing_left() -> Iterator[None]:
    """What a file's tests leave unclosed fails there, and not in another file's test that runs when it is collected."""
    yield
    gc.collect()


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Iterator[None]:
    if count := config.stash.get(SKIPPED, 0):
        terminalreporter.section("NO DOCKER ENGINE", sep="!", red=True, bold=True)
        terminalreporter.line(f"{count} tests did not run; nothing is known about builds and containers.")
    return (yield)
