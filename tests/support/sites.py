"""What a machine with systemd is made of for install.sh, and a person outside of it who pushes and visits."""

import hashlib
import http.client
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from machines import NO_MODULES, SYSTEMD, Answer, Machine, Recipe
from tests_support import PUSH_LIMIT, Completed, Repository

ROOT = Path(__file__).resolve().parents[2]
SOURCE = "/usr/src/cygni"
RECIPE = Recipe(
    "bookworm",
    packages=(
        *("ca-certificates", "curl", "debian-archive-keyring", "docker.io", "git", "iproute2", "iptables"),
        *("mmdebstrap", "openssh-client", "passwd", "procps", "python3", "python3-venv", "sudo", "tini"),
        *SYSTEMD,
    ),
    # As the engine does by itself where cgroups are of version 2.
    commands=(
        NO_MODULES,
        "mkdir -p /etc/docker",
        'echo \'{\\"exec-opts\\": [\\"native.cgroupdriver=systemd\\"]}\' >/etc/docker/daemon.json',
    ),
)


@dataclass
class Site:
    """The installation, as a person with a key and a browser meets it."""

    machine: Machine
    key: Path
    source: str = SOURCE
    folder: Path | None = None
    """What the host has at `source`, where it can be changed."""

    def install(self, *options: str) -> Answer:
        return self.machine.run("./install.sh", "--yes", *options, cwd=self.source)

    def systemctl(self, *words: str) -> str:
        return self.machine.run("systemctl", *words).output.strip()

    def shown(self, unit: str, name: str) -> str:
        return self.systemctl("show", "--value", f"--property={name}", unit)

    def get(self, app: str, path: str = "/", timeout: float = 10) -> tuple[int, str]:
        connection = http.client.HTTPConnection(self.machine.address, 80, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Host": f"{app}.localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def _ssh(self) -> list[str]:
        return [
            "ssh", "-F", "none", "-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o",
            f"UserKnownHostsFile={self.key.parent / 'known_hosts'}", "-o", "StrictHostKeyChecking=accept-new",
            "-o", "LogLevel=ERROR", "-o", "HostKeyAlias=site",
        ]  # fmt: skip

    def ssh(self, *words: str) -> Completed:
        command = [*self._ssh(), "-p", "2222", f"cygni@{self.machine.address}", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=PUSH_LIMIT, check=False)

    def push(self, work: Repository, app: str) -> Completed:
        url = f"ssh://cygni@{self.machine.address}:2222/{app}"
        done = work.git("push", url, "main", env={"GIT_SSH_COMMAND": " ".join(self._ssh())}, check=False)
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.journal()}"
        return done

    def journal(self) -> str:
        return self.machine.run("journalctl", "--no-pager", "-n", "60", "-u", "cygni*").output


def bundle(cache: pytest.Cache, target: Path) -> None:
    """What script/bundle makes of this checkout; the wheels are fetched once for each state of the lock file."""
    listed = [sys.executable, "script/runtime_requirements.py"]
    wanted = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout
    wheels = cache.mkdir(f"wheels-{hashlib.sha256(wanted).hexdigest()[:16]}")
    kept = ["--wheels", str(wheels)] if any(wheels.glob("*.whl")) else []
    command = [sys.executable, "script/bundle.py", str(target), "--python=3.11", *kept]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr
    if not kept:
        shutil.copytree(target / "wheels", wheels, dirs_exist_ok=True)
