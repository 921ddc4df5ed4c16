"""`CYGNI_ENGINE=ecs` is complete or refused, and builds the engine for it."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from config.settings import SettingsError, load
from cygni.backends import make_backend
from deployer.ecs import EcsEngine
from deployer.ports import nobody

COMPLETE = {
    "CYGNI_ECS_REGION": "eu-central-1",
    "CYGNI_ECS_SUBNETS": "subnet-1, subnet-2",
    "CYGNI_ECS_SECURITY_GROUPS": "sg-1",
    "CYGNI_ECS_EXECUTION_ROLE": "arn:aws:iam::1:role/x",
}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CYGNI_DATA", str(tmp_path))
    monkeypatch.setenv("CYGNI_ENGINE", "ecs")
    for name, value in COMPLETE.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("missing", COMPLETE)
def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    monkeypatch.delenv(missing)
    with pytest.raises(SettingsError, match=f"^CYGNI_ENGINE=ecs needs {missing}$"):
        load()


def test_lists_are_separated_by_commas() -> None:
    assert load().ecs_subnets == ("subnet-1", "subnet-2")


def test_another_engine_needs_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYGNI_ENGINE", "memory")
    for name in COMPLETE:
        monkeypatch.delenv(name)
    assert load().ecs_subnets is None


async def test_the_backend_is_made_without_a_call_to_aws() -> None:
    async with AsyncExitStack() as stack:
        backend = await make_backend(load(), "server", nobody, stack)
        assert isinstance(backend.engine, EcsEngine)
        assert not backend.engine.aws.calls
