"""A machine with systemd as PID 1 on which install.sh has run."""

import os
import shutil
from collections.abc import Iterator
from contextlib import closing

import docker
import pytest
from machines import machine
from sites import RECIPE, SOURCE, Site, bundle
from tests_support import make_key

PATIENCE = 300  # a machine's disk holds the base images, and goes with it


@pytest.fixture(scope="session")
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Installed once, for all tests; each leaves it serving."""
    if os.geteuid() != 0:
        pytest.skip("making a machine needs root")
    key = make_key(tmp_path_factory.mktemp("key") / "key")
    folder = tmp_path_factory.mktemp("bundle")
    assert request.config.cache is not None
    try:
        bundle(request.config.cache, folder)
        with closing(docker.from_env(timeout=PATIENCE)) as client:
            with machine(client, RECIPE, systemd=True, shared={SOURCE: folder}) as made:
                found = Site(made, key, folder=folder)
                found.install("--key", key.with_suffix(".pub").read_text().strip())
                yield found
    finally:
        shutil.rmtree(folder)
