"""What the repository says about its build reaches the running app: a folder, a version, a package, processes."""

from collections.abc import Callable, Mapping

import pytest
from apps import app
from tests_support import Repository, Server

pytestmark = pytest.mark.docker

SETTINGS = """
[build]
root = "services/shop"

[packages]
run = ["jq"]

[processes]
web = "jq --version > /tmp/said && python3 server.py"
"""


def test_a_folder_a_version_a_package_and_a_process_of_cygni_toml_hold(
    server: Server, repository: Callable[[Mapping[str, str]], Repository]
) -> None:
    """The version is another suite's: its base image is made or found, and the app runs on it."""
    says = 'str(sys.version_info[1]) + " " + open("/tmp/said").read()'
    source = app()["server.py"].replace('"one "', says)
    files = {
        "cygni.toml": SETTINGS,
        "services/shop/requirements.txt": "",
        "services/shop/server.py": source,
        "services/shop/.python-version": "3.13\n",
        "other/package.json": "{",
    }
    pushed = server.push(repository(files), "shop").stderr
    assert "python 3.13" in pushed
    assert ".python-version:1" in pushed
    status, body = server.get("shop")
    assert status == 200
    assert body.startswith("13 jq-")
