"""What `--json` prints has the documented fields, for each command that has it."""

import json
import re
from typing import Any

import pytest
from authority import Authority
from tests_support import Server

from cygni.commands import registry
from cygni.commands.samples import SAMPLES
from cygni.commands.schemas import SCHEMAS

ARGUMENTS = {"releases:diff": ["v1"], "doctor": [], "version": []}


@pytest.fixture(scope="module", autouse=True)
def something_to_list(server: Server, shop: str) -> None:
    """What a server with an app does not have by itself: a one-off, a certificate."""
    server.ssh("run", "-a", shop, "-d", "--", "sleep", "600")
    issued = Authority().issue("wildcard", "*.apps.test")
    server.ssh("certs:add", "wildcard", input=issued.chain + issued.key)


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_the_fields_are_the_documented_ones(server: Server, shop: str, name: str) -> None:
    command, schema = registry.find(name), SCHEMAS[name]
    assert command is not None
    app = ["-a", shop] if command.takes_app and not command.app_optional else []
    text = server.ssh(name, *app, *ARGUMENTS.get(name, []), "--json").stdout
    if schema.shape == "lines":
        found: Any = [json.loads(line) for line in text.splitlines()]
    else:
        found = json.loads(text)
    if schema.shape in {"list", "lines"}:
        assert found, "nothing to look at"
        assert {tuple(item) for item in found} == {tuple(schema.fields)}
    elif schema.shape == "object":
        assert tuple(found) == tuple(schema.fields)
    else:
        assert isinstance(found, list if schema.shape == "names" else dict)


@pytest.mark.parametrize("name", sorted(SAMPLES.keys() - {"config:set", "ps:scale", "rollback", "logs"}))
def test_the_reference_shows_what_is_printed(server: Server, shop: str, name: str) -> None:
    """Headings, columns and names of facts; values differ."""
    command = registry.find(name)
    assert command is not None
    app = ["-a", shop] if command.takes_app and not command.app_optional else []
    real = server.ssh(name, *app, *ARGUMENTS.get(name, []), check=False).stdout.splitlines()
    sample = SAMPLES[name].splitlines()
    if sample[0].startswith("=== "):
        assert sample[0].split()[:2] in [line.split()[:2] for line in real]
        named = {line.partition(":")[0] for line in sample if re.match(r"[a-z_-]+: ", line)}
        if name != "releases:diff":
            assert named <= {line.partition(":")[0] for line in real}
    else:
        assert real[0].split() == sample[0].split()
