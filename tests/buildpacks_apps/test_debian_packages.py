"""Every Debian package that the tables name is in every suite under the name they give."""

from typing import TYPE_CHECKING

import docker
import pytest

from buildpacks.plan import STACKS, Evidence, SystemPackage
from buildpacks.system_packages import BY_DEPENDENCY, HEADERS, LIBRARIES, PROGRAMS, in_suite

if TYPE_CHECKING:
    from tests.buildpacks_apps.conftest import Workshop

pytestmark = [pytest.mark.docker, pytest.mark.timeout(300)]


def names(suite: str) -> list[str]:
    found = {*HEADERS.values(), *LIBRARIES.values(), *PROGRAMS.values()}
    for table in BY_DEPENDENCY.values():
        for needs in table.values():
            found |= {*needs.build, *needs.run}
    return sorted({in_suite(SystemPackage(name, Evidence("x")), suite).name for name in found})


@pytest.mark.parametrize("suite", [stack.suite for stack in STACKS])
async def test_the_packages_of_the_tables_exist(suite: str, workshop: "Workshop") -> None:
    images = await workshop.suites.ensure(suite, workshop.say)
    command = (
        f"apt-get update -qq; apt-get install --simulate {' '.join(names(suite))} 2>&1 | grep ^E: || true"
    )
    client = docker.from_env()
    try:
        output = client.containers.run(images.build, ["sh", "-c", command], remove=True, stderr=False)
    finally:
        client.close()
    assert output.decode() == ""
