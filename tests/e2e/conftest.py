"""Fixtures of the end-to-end tests; the parts are in `tests_support`."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests_support import Repository, Server, free_subnet, running_server


@pytest.fixture(scope="session")
def networks() -> Callable[[], str]:
    """A subnet of its own for every server, whatever else runs on the engine."""
    return free_subnet


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, networks: Callable[[], str]) -> Iterator[Server]:
    """One server for the tests that leave it as they found it."""
    with running_server(tmp_path_factory.mktemp("server"), network=networks()) as made:
        yield made


@pytest.fixture
def own_server(tmp_path: Path, networks: Callable[[], str]) -> Iterator[Server]:
    """A server that the test may kill."""
    with running_server(tmp_path, network=networks()) as made:
        yield made


@pytest.fixture
def repository(tmp_path: Path) -> Callable[[Mapping[str, str]], Repository]:
    """Make work trees from files."""
    count = iter(range(100))
    return lambda files: Repository(tmp_path / f"work{next(count)}", files)
