"""A PostgreSQL server of this test run's own, from Debian's packages: a Unix socket in a temporary folder, no port."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ON_SQLITE = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
"""For tests about SQLite; the others run on both kinds of database."""

START_LIMIT = 120
USER = "cygni"


def programs() -> Path | None:
    """The folder of the newest installed version's programs, which Debian keeps out of PATH."""
    found = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(found, key=lambda path: float(path.parts[-3]), default=None)
    return newest.parent if newest else None


class PostgreSQL:
    """A running server. PostgreSQL refuses root, so as root it runs as its package's user."""

    def __init__(self, folder: Path, bin: Path) -> None:
        self._folder, self._bin = folder, bin
        self._owner = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    def start(self) -> None:
        """Make the data folder where there is none, and start; returns when it answers."""
        if not (self._folder / "data").exists():
            shutil.chown(self._folder, self._owner)
            words = [
                "initdb",
                "-D",
                "data",
                "-U",
                USER,
                "-A",
                "trust",
                "-N",
                "--no-instructions",
                "-E",
                "UTF8",
            ]
            subprocess.run(
                [self._bin / words[0], *words[1:], "--locale=C"], check=True, capture_output=True, **self._as_owner
            )  # fmt: skip
        options = [
            "listen_addresses=",
            f"unix_socket_directories={self._folder}",
            "fsync=off",
            "max_connections=200",
        ]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", "data", *(word for option in options for word in ("-c", option))],
                stdout=log, stderr=log, **self._as_owner,
            )  # fmt: skip
        deadline = time.monotonic() + START_LIMIT
        while self._psql("SELECT 1", check=False).returncode != 0:
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() < deadline, (self._folder / "log").read_text()
            time.sleep(0.05)

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it: its fast shutdown, or SIGQUIT, its immediate one, which is a crash to everybody else."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(60)
            self._process = None

    def create(self, template: str = "template0") -> str:
        """Make a database, as a copy of a template that nobody is connected to; returns its name."""
        self._count += 1
        name = f"test_{self._count}"
        self._psql(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self._psql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def url(self, name: str) -> str:
        return f"postgresql://{USER}@/{name}?host={self._folder}"

    def query(self, name: str, sql: str) -> str:
        return self._psql(sql, name).stdout.strip()

    @property
    def _as_owner(self) -> dict[str, object]:
        if os.geteuid() != 0:
            return {"cwd": self._folder}
        return {
            "cwd": self._folder,
            "user": self._owner,
            "group": pwd.getpwnam(self._owner).pw_gid,
            "extra_groups": [],
        }

    def _psql(self, sql: str, name: str = "postgres", check: bool = True) -> subprocess.CompletedProcess[str]:
        words = ["-X", "-q", "-t", "-A", "-v", "ON_ERROR_STOP=1", "-h", str(self._folder), "-U", USER]
        done = subprocess.run(
            [self._bin / "psql", *words, "-c", sql, name], check=False, capture_output=True, text=True
        )
        assert not check or done.returncode == 0, done.stderr
        return done


@contextmanager
def running_postgres() -> Iterator[PostgreSQL]:
    """A server in a folder of its own; pytest's own folders are closed to the package's user."""
    found = programs()
    assert found is not None
    folder = Path(tempfile.mkdtemp(prefix="cygni-pg-"))
    made = PostgreSQL(folder, found)
    try:
        made.start()
        yield made
    finally:
        made.stop()
        shutil.rmtree(folder)
