"""Engines for the deployer's tests."""

import random
from collections.abc import AsyncIterator

import pytest
from deployer_world import World


@pytest.fixture
def subnet() -> str:
    """A bridge's subnet that no server of another test run is likely to have."""
    return f"10.{random.randrange(100, 190)}.{random.randrange(256)}.{random.randrange(0, 256, 16)}/28"


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A machine, routers and a database without a control plane."""
    made = World(f"127.{random.randrange(2, 120)}.{random.randrange(256)}.0/24")
    yield made
    made.machine.close()
