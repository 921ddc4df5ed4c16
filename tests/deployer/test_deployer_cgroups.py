"""Memory and processor time from control groups, as both versions lay them out."""

from collections.abc import Mapping
from pathlib import Path

from deployer.docker.cgroups import Sample, sample, usage
from deployer.ports import Usage


def write(root: Path, files: Mapping[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_version_1_is_read_from_its_controllers(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/7/cgroup": "4:memory:/docker/abc\n2:cpu,cpuacct:/docker/abc\n0::/docker/abc\n",
            "memory/docker/abc/memory.usage_in_bytes": "1500\n",
            "memory/docker/abc/memory.stat": "cache 900\ntotal_inactive_file 500\n",
            "memory/docker/abc/memory.limit_in_bytes": "4096\n",
            "cpu,cpuacct/docker/abc/cpuacct.usage": "2500000000\n",
        },
    )
    found = sample(7, tmp_path / "proc", tmp_path)
    assert found is not None
    assert (found.memory_bytes, found.memory_limit, found.processor_seconds) == (1000, 4096, 2.5)


def test_version_2_is_read_from_one_group(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/7/cgroup": "0::/system.slice/docker-abc.scope\n",
            "system.slice/docker-abc.scope/memory.current": "1500\n",
            "system.slice/docker-abc.scope/memory.stat": "anon 900\ninactive_file 500\n",
            "system.slice/docker-abc.scope/memory.max": "max\n",
            "system.slice/docker-abc.scope/cpu.stat": "usage_usec 2500000\nuser_usec 1\n",
        },
    )
    found = sample(7, tmp_path / "proc", tmp_path)
    assert found is not None
    assert (found.memory_bytes, found.memory_limit, found.processor_seconds) == (1000, 0, 2.5)


def test_a_process_that_is_gone_has_no_sample(tmp_path: Path) -> None:
    assert sample(7, tmp_path / "proc", tmp_path) is None
    write(tmp_path, {"proc/7/cgroup": "0::/gone\n"})
    assert sample(7, tmp_path / "proc", tmp_path) is None


def test_two_samples_make_a_usage() -> None:
    before, after = Sample(10.0, 1.0, 500, 0), Sample(12.0, 2.0, 700, 0)
    assert usage(before, after) == Usage(700, 0, 0.5)
