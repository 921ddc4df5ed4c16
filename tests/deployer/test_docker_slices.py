"""A systemd slice as the engine's cgroup drivers want it."""

import pytest

from deployer.docker.slices import Slice, cgroup_parent


@pytest.mark.parametrize(
    ("unit", "driver", "wanted"),
    [
        ("cygni-apps.slice", "systemd", "cygni-apps.slice"),
        ("cygni-apps.slice", "cgroupfs", "/cygni.slice/cygni-apps.slice"),
        ("a-b-c.slice", "cgroupfs", "/a.slice/a-b.slice/a-b-c.slice"),
        ("apps.slice", "cgroupfs", "/apps.slice"),
    ],
)
def test_a_slice_is_named_or_spelled_out(unit: str, driver: str, wanted: str) -> None:
    assert cgroup_parent(unit, driver) == wanted


def test_without_a_slice_the_engine_is_not_asked() -> None:
    assert Slice(None).parent(None) is None
