"""Makes a folder from which install.sh needs no package index: `script/bundle FOLDER [--python VERSION]`.

It holds the sources, `wheels/` with every Python package of the lock file that a server needs, and `stack.tar` with the
base images. The wheels fit one version of Python: that of the machine it is for (Debian 12: 3.11, Debian 13: 3.13).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import docker

ROOT = Path(__file__).resolve().parents[1]
STACK = "cygni-stack/debian-bookworm"
CHUNK = 1 << 20


def copy_sources(target: Path) -> None:
    """What belongs to the project, as it is in this checkout."""
    tracked = ["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(tracked, capture_output=True, text=True, check=True).stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)


def fetch_wheels(target: Path, python: str) -> None:
    """Every package a server needs, checked against the lock file's hashes."""
    wanted = subprocess.run(
        [sys.executable, ROOT / "script/runtime_requirements.py"], capture_output=True, text=True, check=True
    ).stdout
    target.mkdir(parents=True, exist_ok=True)
    (target / "requirements.txt").write_text(wanted)
    command = [
        sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "-q", "--no-deps",
        "--only-binary=:all:", f"--python-version={python}", "--require-hashes", "-r", "requirements.txt",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=target, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        raise SystemExit(f"The packages could not be fetched:\n{done.stderr}")


def save_stack(target: Path) -> None:
    """The base images of this machine's engine."""
    client = docker.APIClient(timeout=600)
    try:
        names = {"names": [f"{STACK}:build", f"{STACK}:run"]}
        with client.get(client._url("/images/get"), params=names, stream=True) as saved:
            saved.raise_for_status()
            with target.open("wb") as archive:
                shutil.copyfileobj(saved.raw, archive, CHUNK)
    finally:
        client.close()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--python", default=f"{sys.version_info.major}.{sys.version_info.minor}")
    parser.add_argument(
        "--wheels", type=Path, help="take the wheels from this folder instead of fetching them"
    )
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    copy_sources(arguments.folder)
    if arguments.wheels:
        shutil.copytree(arguments.wheels, arguments.folder / "wheels", dirs_exist_ok=True)
    else:
        fetch_wheels(arguments.folder / "wheels", arguments.python)
    save_stack(arguments.folder / "stack.tar")
    print(f"{arguments.folder}: run ./install.sh there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
