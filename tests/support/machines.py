"""Fresh machines: containers that hold a bare distribution, with or without systemd as PID 1.

They get what a virtual machine has (capabilities, cgroups, a disk of their own for an engine) and nothing of the
host but the certificates it trusts. Each has its own network, so nothing in one clashes with the host.
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import docker

from buildpacks.stacks import apt

CERTIFICATES = Path("/usr/local/share/ca-certificates")
ENGINE_DISKS = ("/var/lib/docker", "/var/lib/containerd")  # overlays do not nest: these are volumes
LABEL = "cygni.machine"
PERSON = "person"
SYSTEMD = ("systemd", "systemd-sysv", "dbus")
# Groups of its own, or what watches builds by their groups would see those of the host and of other machines.
OWN_GROUPS = (
    "for each in /sys/fs/cgroup /sys/fs/cgroup/*; do mount -o remount,bind,rw $each 2>/dev/null || true; done"
)
NO_MODULES = "systemctl mask systemd-modules-load.service"  # the kernel is the host's
UBUNTU = ("jammy", "noble")
UBUNTU_KEYRING = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")


@dataclass(frozen=True)
class Recipe:
    """A root file system: a suite, what it has besides its essential packages, and commands run in it last."""

    suite: str
    packages: tuple[str, ...] = ("ca-certificates", "passwd", "sudo")
    commands: tuple[str, ...] = ()
    keyring: Path | None = None

    @property
    def certificates(self) -> list[Path]:
        """What the host trusts besides the distribution's."""
        return sorted(CERTIFICATES.glob("*.crt"))

    @property
    def tag(self) -> str:
        """Named by its content, so that it is made once."""
        content = hashlib.sha256(repr(self._bootstrap()).encode())
        for file in self.certificates:
            content.update(file.read_bytes())
        return f"cygni-machine/{self.suite}:{content.hexdigest()[:16]}"

    def make(self, client: docker.DockerClient) -> str:
        """Make the image where it is missing."""
        if not client.images.list(self.tag):
            print(f"-----> Making a machine of {self.suite} with {', '.join(self.packages)}", flush=True)
            with subprocess.Popen(self._bootstrap(), stdout=subprocess.PIPE, stderr=subprocess.PIPE) as made:
                assert made.stdout is not None
                assert made.stderr is not None
                repository, _, tag = self.tag.partition(":")
                client.api.import_image_from_stream(
                    made.stdout, repository, tag, changes=["ENV container=docker", f"LABEL {LABEL}=image"]
                )
                errors = made.stderr.read().decode()
            if made.returncode:
                client.images.remove(self.tag, force=True)
                raise AssertionError(f"mmdebstrap failed:\n{errors[-3000:]}")
        return self.tag

    def _bootstrap(self) -> list[str]:
        ubuntu = ["--components=main,universe"] if self.suite in UBUNTU else []
        keyring = [f"--keyring={self.keyring}"] if self.keyring else []
        return [
            "mmdebstrap", "--quiet", "--mode=root", "--variant=minbase", "--format=tar",
            *ubuntu, *keyring, f"--include={','.join(('apt', *self.packages))}",
            *(f"--aptopt={option}" for option in apt.options()),
            *(f"--customize-hook={hook}" for hook in self._hooks()),
            self.suite, "-",
        ]  # fmt: skip

    def _hooks(self) -> list[str]:
        trust = [f"copy-in {file} {CERTIFICATES}" for file in self.certificates]
        in_it = [
            "update-ca-certificates >/dev/null",
            f"useradd --create-home --shell /bin/bash {PERSON}",
            f"echo '{PERSON} ALL=(ALL:ALL) NOPASSWD: ALL' >/etc/sudoers.d/{PERSON}",
            *self.commands,
        ]
        return [*trust, *(f'chroot "$1" sh -ec "{command}"' for command in in_it)]


@dataclass(frozen=True)
class Answer:
    """How a command ended."""

    code: int
    output: str


class Machine:
    """One running machine. Removed with its disk by `remove`."""

    def __init__(self, client: docker.DockerClient, container: Any) -> None:
        self._client = client
        self._container = container

    @classmethod
    def start(
        cls,
        client: docker.DockerClient,
        image: str,
        *,
        systemd: bool = False,
        shared: Mapping[str, Path] | None = None,
    ) -> Self:
        """Boot an image; `shared` are folders of the host, to be read, by where they are mounted."""
        api = client.api
        disks = {target: f"{source}:{target}:ro" for target, source in (shared or {}).items()}
        if systemd:
            disks["/sys/fs/cgroup"] = "/sys/fs/cgroup:/sys/fs/cgroup:rw"
        about = api.create_host_config(
            binds=list(disks.values()),
            cap_add=["ALL"],
            cap_drop=["SYS_RESOURCE"],
            cgroupns="host" if systemd else "private",
            security_opt=["seccomp=unconfined", "apparmor=unconfined"],
            tmpfs={"/run": "exec", "/run/lock": "", "/tmp": "exec"} if systemd else {},
        )
        about |= {"MaskedPaths": [], "ReadonlyPaths": []}  # the engine inside writes to /proc/sys
        made = api.create_container(
            image,
            init_command() if systemd else ["sleep", "infinity"],
            volumes=[*disks, *ENGINE_DISKS],
            stop_signal="SIGRTMIN+3" if systemd else "SIGKILL",
            labels={LABEL: "container"},
            host_config=about,
        )
        api.start(made["Id"])
        started = cls(client, client.containers.get(made["Id"]))
        if not systemd:
            started.shell(OWN_GROUPS)
        return started

    @property
    def address(self) -> str:
        """Where the host reaches it."""
        self._container.reload()
        return str(self._container.attrs["NetworkSettings"]["IPAddress"])

    def run(
        self,
        *words: str,
        user: str = "root",
        cwd: str | None = None,
        env: Mapping[str, str] | None = None,
        check: bool = True,
        show: bool = False,
    ) -> Answer:
        """Run a command to its end; `show` prints its output as it comes."""
        api = self._client.api
        home = "/root" if user == "root" else f"/home/{user}"
        about = {"user": user, "workdir": cwd, "environment": {"HOME": home, "USER": user, **(env or {})}}
        made = api.exec_create(self._container.id, list(words), **about)["Id"]
        output = []
        # The SDK's `exec_start` leaves its connection open.
        with api._post_json(api._url("/exec/{0}/start", made), data={"Tty": False}, stream=True) as answer:
            for chunk in api._multiplexed_response_stream_helper(answer):
                output.append(chunk)
                if show:
                    sys.stdout.write(chunk.decode(errors="replace"))
                    sys.stdout.flush()
        text = b"".join(output).decode(errors="replace")
        code = api.exec_inspect(made)["ExitCode"]
        assert not check or code == 0, f"{' '.join(words)}: exit code {code}\n{text[-6000:]}"
        return Answer(code, text)

    def shell(self, script: str, **how: Any) -> Answer:
        """Run a script with `sh -ec`."""
        return self.run("sh", "-ec", script, **how)

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """Put a small file of root's there."""
        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.mode, entry.size = mode, len(text.encode())
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            archive.addfile(entry, io.BytesIO(text.encode()))
        self._container.put_archive("/", packed.getvalue())

    def copy(self, source: Path, target: str, *, owner: int = 0) -> None:
        """Copy a folder, or a file, with everything below it owned by one user."""

        def owned(entry: tarfile.TarInfo) -> tarfile.TarInfo:
            entry.uid = entry.gid = owner
            entry.uname = entry.gname = ""
            return entry

        with tempfile.TemporaryFile() as packed:
            with tarfile.open(fileobj=packed, mode="w") as archive:
                archive.add(source, target.lstrip("/"), filter=owned)
            packed.seek(0)
            self._container.put_archive("/", packed)

    def restart(self) -> None:
        """Reboot: an orderly shutdown, then the same disk again."""
        self._container.restart(timeout=90)

    def remove(self) -> None:
        """End it and drop its disk."""
        self._container.remove(force=True, v=True)
        sweep_groups()


def sweep_groups(root: Path = Path("/sys/fs/cgroup")) -> None:
    """Remove empty control groups that an engine inside made at the host's root; those in use stay."""
    for top in (*root.glob("cygni.slice"), *root.glob("*/cygni.slice")):
        for folder, _, _ in os.walk(top, topdown=False):
            with suppress(OSError):
                Path(folder).rmdir()


def init_command() -> list[str]:
    """systemd on the host's cgroups. Newer ones take those of version 1 only when told to, as a kernel would."""
    unified = Path("/sys/fs/cgroup/cgroup.controllers").exists()
    legacy = ["systemd.unified_cgroup_hierarchy=0", "SYSTEMD_CGROUP_ENABLE_LEGACY_FORCE=1"]
    return ["/sbin/init", *([] if unified else legacy)]


def booted(machine: Machine, limit: float = 60) -> None:
    """Wait until systemd has started what it was to start."""
    deadline = time.monotonic() + limit
    state = Answer(1, "")
    while state.output.strip() not in {"running", "degraded"}:
        assert time.monotonic() < deadline, f"not booted within {limit} s: {state.output}"
        time.sleep(0.2)
        state = machine.run("systemctl", "is-system-running", check=False)
    failed = machine.run("systemctl", "list-units", "--failed", "--no-legend", "--plain").output.strip()
    assert not failed, failed


@contextmanager
def machine(
    client: docker.DockerClient,
    recipe: Recipe,
    *,
    systemd: bool = False,
    shared: Mapping[str, Path] | None = None,
) -> Iterator[Machine]:
    """A machine that is removed at the end."""
    made = Machine.start(client, recipe.make(client), systemd=systemd, shared=shared)
    try:
        if systemd:
            booted(made)
        yield made
    finally:
        made.remove()


def clone(root: Path, target: Path) -> Path:
    """A clean clone of the project's last commit: what a newcomer has."""
    command: Sequence[str] = ["git", "clone", "-q", "--no-hardlinks", str(root), str(target)]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return target
