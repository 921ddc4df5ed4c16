"""Receiving pushes against OpenSSH's sshd with `git receive-pack`, on the same machine, in turns.

Run by `script/bench push`. Needs sshd (Debian: openssh-server); without it the comparison is left out and said so.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bench_push import Report

SSHD = "/usr/sbin/sshd"
BIG_FILES = 1900
BIG_COMMITS = 350


def measure(report: Report, rounds: int) -> None:
    if not Path(SSHD).exists():
        print("LEFT OUT: receiving against sshd (install openssh-server to measure it)")
        report.missed.append("receive (sshd is not installed)")
        return
    with tempfile.TemporaryDirectory(prefix="cygni-receive-") as folder:
        root = Path(folder)
        key = root / "key"
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(key)], check=True)
        small, big = small_repository(root / "small"), big_repository(root / "big")
        with sshd(root, key) as theirs, cygni(root, key) as (ours, pid):
            _compare(report, "receive, 60 KB push", root, key, small, ours, theirs, rounds, 0.5)
            before = _peak(pid)
            _compare(
                report,
                "receive, 50 MB push of 8,000 objects",
                root,
                key,
                big,
                ours,
                theirs,
                max(3, rounds // 3),
                1.0,
            )
            report.limit(
                "receive, growth of the server's memory by the 50 MB push",
                (_peak(pid) - before) / 1024,
                20,
                "MiB",
            )
            _clones(report, root, key, ours, theirs, max(3, rounds // 3))


def _compare(report, name, root, key, work, ours, theirs, rounds, target) -> None:
    mine, other = [], []
    for n in range(rounds + 1):
        other.append(_push(work, key, f"ssh://{_user()}@127.0.0.1:{theirs}{_bare(root, f'{work.name}{n}')}"))
        mine.append(_push(work, key, f"ssh://cygni@127.0.0.1:{ours}/{work.name}{n}"))
    report.ratio(name, mine[1:], other[1:], target)


def _clones(report, root, key, ours, theirs, rounds) -> None:
    mine, other = [], []
    for n in range(rounds):
        other.append(
            _clone(root, key, f"ssh://{_user()}@127.0.0.1:{theirs}{root}/bare/big0.git", f"theirs{n}")
        )
        mine.append(_clone(root, key, f"ssh://cygni@127.0.0.1:{ours}/big0", f"ours{n}"))
    report.ratio("clone of it", mine, other, 1.2)


def _user() -> str:
    return subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()


def _bare(root: Path, name: str) -> str:
    path = root / "bare" / f"{name}.git"
    subprocess.run(["git", "init", "-q", "--bare", str(path)], check=True)
    return str(path)


def _client(key: Path) -> dict[str, str]:
    options = f"-F none -i {key} -o IdentitiesOnly=yes -o BatchMode=yes -o LogLevel=ERROR"
    known = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    return {**os.environ, "GIT_SSH_COMMAND": f"ssh {options} {known}"}


def _push(work: Path, key: Path, url: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        ["git", "-C", str(work), "push", "-q", url, "main"], env=_client(key), check=True, timeout=120
    )
    return time.perf_counter() - began


def _clone(root: Path, key: Path, url: str, name: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        ["git", "clone", "-q", "--bare", url, str(root / name)], env=_client(key), check=True, timeout=120
    )
    took = time.perf_counter() - began
    shutil.rmtree(root / name)
    return took


def small_repository(path: Path) -> Path:
    """One commit, 100 files, about 60 KB packed."""
    _init(path)
    for n in range(100):
        (path / f"file{n}").write_bytes(os.urandom(550))
    _commit(path, "all")
    return path


def big_repository(path: Path) -> Path:
    """About 50 MB in 8,000 objects: incompressible files, and one text edited over and over."""
    _init(path)
    for n in range(BIG_FILES):
        folder = path / f"d{n % 40}"
        folder.mkdir(exist_ok=True)
        (folder / f"file{n}").write_bytes(os.urandom(26_000))
    _commit(path, "assets")
    stream = []
    for n in range(BIG_COMMITS):
        text = "\n".join(f"line {line} of {n if line % 50 == n % 50 else 0}" for line in range(400))
        changes = "".join(
            f"M 100644 inline d{k}/text{k}\ndata {len(body)}\n{body}\n"
            for k, body in ((k, f"{text}\n{k}\n") for k in range(n % 40, n % 40 + 8))
        )
        parent = "from refs/heads/main^0\n" if n == 0 else ""
        stream.append(
            f"commit refs/heads/main\ncommitter b <b@example.com> {1_700_000_000 + n} +0000\ndata 1\nx\n{parent}{changes}\n"
        )
    subprocess.run(
        ["git", "-C", str(path), "fast-import", "--quiet"], input="".join(stream).encode(), check=True
    )
    subprocess.run(["git", "-C", str(path), "repack", "-adfq"], check=True)
    return path


def _init(path: Path) -> None:
    subprocess.run(["git", "init", "-q", "-b", "main", str(path)], check=True)


def _commit(path: Path, message: str) -> None:
    identity = ["-c", "user.name=b", "-c", "user.email=b@example.com"]
    subprocess.run(["git", "-C", str(path), "add", "-A"], check=True)
    subprocess.run(["git", "-C", str(path), *identity, "commit", "-q", "-m", message], check=True)


@contextmanager
def sshd(root: Path, key: Path) -> Iterator[int]:
    """An sshd of our own on a free port, with the session settings it has by default."""
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(root / "host")], check=True)
    shutil.copy(key.with_suffix(".pub"), root / "authorized")
    (root / "authorized").chmod(0o600)
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    port = _free_port()
    config = root / "sshd.conf"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {root}/host\nAuthorizedKeysFile {root}/authorized\n"
        f"PidFile {root}/sshd.pid\nStrictModes no\nUsePAM no\nPasswordAuthentication no\n"
    )
    process = subprocess.Popen([SSHD, "-D", "-f", str(config), "-E", str(root / "sshd.log")])
    try:
        _wait_for(port)
        yield port
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def cygni(root: Path, key: Path) -> Iterator[tuple[int, int]]:
    """Our front door with a handler that accepts everything, in a process of its own."""
    command = [sys.executable, __file__, str(root / "ours"), str(key.with_suffix(".pub"))]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield int(process.stdout.readline()), process.pid
    finally:
        process.terminate()
        process.wait(10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on {port}")


def _peak(pid: int) -> int:
    """Highest resident memory so far, KiB."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM")
    )
    return int(line.split()[1])


async def _serve(root: Path, public: Path) -> None:
    from config.logging import configure
    from gitserver.keys import parse_public_key
    from gitserver.ports import GitServerOptions, Principal
    from gitserver.server import GitServer
    from gitserver.testing import EchoCommands, MemoryKeys, MemoryPushes

    configure("warning", "console")
    keys = MemoryKeys()
    keys.principals[parse_public_key(public.read_text()).fingerprint] = Principal("1", "bench", admin=True)
    root.mkdir()
    server = GitServer(
        GitServerOptions("127.0.0.1", 0, root / "state"), keys, MemoryPushes(root), EchoCommands()
    )
    await server.start()
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_serve(Path(sys.argv[1]), Path(sys.argv[2])))
