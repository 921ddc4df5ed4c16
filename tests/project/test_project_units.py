import re
import shutil
import subprocess
from pathlib import Path

import pytest


def units(root: Path, suffix: str) -> list[Path]:
    return sorted((root / "systemd").glob(f"*.{suffix}"))


def test_no_unit_lets_a_pushed_tree_be_imported(root: Path) -> None:
    services = [service for service in units(root, "service") if "/bin/cygni " in service.read_text()]
    assert len(services) == 2
    for service in services:
        assert re.search(r"^Environment=.*\bPYTHONSAFEPATH=1\b", service.read_text(), re.MULTILINE), service


def test_no_unit_runs_as_root_but_the_one_that_changes_the_packet_filter(root: Path) -> None:
    for service in units(root, "service"):
        text = service.read_text()
        ours, filters = "\nUser=cygni\n" in text, service.name == "cygni-metadata.service"
        assert ours != filters, service
        allowed = "CAP_NET_ADMIN CAP_NET_RAW" if filters else ""
        assert re.findall("^CapabilityBoundingSet=(.*)$", text, re.MULTILINE) == [allowed]
        assert "\nNoNewPrivileges=true\n" in text
        assert "\nProtectSystem=strict\n" in text


def test_units_run_the_installed_command_line(root: Path) -> None:
    commands = {
        match
        for service in units(root, "service")
        for match in re.findall("^ExecStart=.*", service.read_text(), re.MULTILINE)
    }
    assert commands == {
        "ExecStart=/opt/cygni/current/.venv/bin/cygni serve",
        "ExecStart=/opt/cygni/current/.venv/bin/cygni router",
        "ExecStart=/opt/cygni/current/systemd/metadata-block on",
    }


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_understands_the_units(root: Path, tmp_path: Path) -> None:
    """Copies with a command and an engine that exist: what is checked is every setting in them."""
    kinds = ("service", "socket", "slice", "target")
    for unit in (unit for kind in kinds for unit in units(root, kind)):
        text = re.sub(r"^(Exec\w+)=\S+", r"\1=/bin/true", unit.read_text(), flags=re.MULTILINE)
        (tmp_path / unit.name).write_text(text)
    (tmp_path / "docker.service").write_text("[Service]\nExecStart=/bin/true\n")
    command = ["systemd-analyze", "verify", "--man=no", *map(str, sorted(tmp_path.iterdir()))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    ours = [line for line in done.stderr.splitlines() if "cygni" in line]
    assert ours == []
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("tool", "file"), [("systemd-sysusers", "cygni.sysusers"), ("systemd-tmpfiles", "cygni.tmpfiles")]
)
def test_the_user_and_the_directories_can_be_made(root: Path, tmp_path: Path, tool: str, file: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text("cygni:x:990:990::/var/lib/cygni:/usr/sbin/nologin\n")
    (tmp_path / "etc/group").write_text("cygni:x:990:\ndocker:x:991:\n")
    mode = ["--dry-run"] if tool == "systemd-sysusers" else ["--create"]
    command = [tool, *mode, f"--root={tmp_path}", str(root / "systemd" / file)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    if tool == "systemd-tmpfiles":
        assert (tmp_path / "var/lib/cygni").stat().st_mode & 0o777 == 0o700


EXPOSURE = 3.0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
@pytest.mark.parametrize("name", ["cygni.service", "cygni-router.service", "cygni-metadata.service"])
def test_units_are_hardened(root: Path, name: str) -> None:
    command = ["systemd-analyze", "security", "--no-pager", "--offline=true", str(root / "systemd" / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    found = re.search(rf"exposure level for {name}: (\d+\.\d)", done.stdout)
    assert found, done.stdout + done.stderr
    assert float(found[1]) <= EXPOSURE, done.stdout


def test_every_service_is_among_the_hardened_ones(root: Path) -> None:
    assert {unit.name for unit in units(root, "service")} == {
        "cygni.service",
        "cygni-router.service",
        "cygni-metadata.service",
    }


def test_the_installer_knows_every_unit(root: Path) -> None:
    listed = re.search(r"^UNIT_FILES=\((.*?)\)", (root / "install.sh").read_text(), re.MULTILINE | re.DOTALL)
    assert listed
    kinds = ("service", "socket", "slice", "target")
    assert sorted(listed[1].split()) == sorted(unit.name for kind in kinds for unit in units(root, kind))
