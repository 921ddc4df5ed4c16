"""Fixtures of the tests of detection, planning and rendering. None of them needs an engine."""

import os
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from hypothesis import settings

from buildpacks.plan import BuildSettings, Catalog, Failure, Plan
from buildpacks.planner import plan
from buildpacks.tree import MemoryFile, MemoryTree

# A machine that is busy with other tests is no defect.
settings.register_profile("plan", deadline=None)
settings.load_profile("plan")

Files = Mapping[str, bytes | str | MemoryFile]


@pytest.fixture
def catalog() -> Catalog:
    return Catalog("token-0123456789", secrets=True)


@pytest.fixture
def planned() -> Callable[..., Plan]:
    """Plan a tree of data that must have a plan."""

    def build(files: Files, settings: BuildSettings | None = None, env: frozenset[str] = frozenset()) -> Plan:
        result = plan(MemoryTree(files), settings, env)
        assert isinstance(result, Plan), result
        return result

    return build


@pytest.fixture
def refused() -> Callable[..., Failure]:
    """Plan a tree of data that must be refused."""

    def build(files: Files, settings: BuildSettings | None = None) -> Failure:
        result = plan(MemoryTree(files), settings)
        assert isinstance(result, Failure), result
        return result

    return build


@pytest.fixture
def git(tmp_path: Path) -> Callable[..., str]:
    """Run git in a fresh repository at `tmp_path / "repo"`; returns its output."""
    repository = tmp_path / "repo"
    repository.mkdir()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        **{
            f"GIT_{who}_{what}": "t@example.com"
            for who in ("AUTHOR", "COMMITTER")
            for what in ("NAME", "EMAIL")
        },
    }

    def run(*arguments: str, stdin: bytes = b"", env: Mapping[str, str] | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=repository,
            input=stdin,
            capture_output=True,
            check=True,
            env={**environment, **(env or {})},
        )
        return done.stdout.decode().strip()

    run("init", "-q", "-b", "main")
    return run
