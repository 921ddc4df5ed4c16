"""Engines for the deployer's tests."""

import random

import pytest


@pytest.fixture
def subnet() -> str:
    """A bridge's subnet that no server of another test run is likely to have."""
    return f"10.{random.randrange(100, 190)}.{random.randrange(256)}.{random.randrange(0, 256, 16)}/28"
