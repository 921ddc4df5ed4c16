"""What holds for all tests: those that need a container engine fail or are skipped loudly without one."""

import os
from collections.abc import Iterator

import docker
import pytest

MISSING = pytest.StashKey[str]()
SKIPPED = pytest.StashKey[int]()


def _cause_of_absence() -> str:
    """Why no engine answers; empty when one does."""
    try:
        client = docker.from_env(timeout=10)
        try:
            client.ping()
        finally:
            client.close()
    except Exception as error:  # noqa: BLE001 - the SDK raises its own and those of two HTTP libraries
        return str(error)
    return ""


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


@pytest.hookimpl(wrapper=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> Iterator[None]:
    if count := config.stash.get(SKIPPED, 0):
        terminalreporter.section("NO DOCKER ENGINE", sep="!", red=True, bold=True)
        terminalreporter.line(f"{count} tests did not run; nothing is known about builds and containers.")
    return (yield)
