"""Proves set-up, tests, demo and installer on fresh machines: `script/fresh [SUITE…] [--as root|person|install]`.

For each suite a container with a bare distribution and a clean clone of the last commit. As root, and as a person with
sudo: `script/setup` runs twice (the second run has to be quick and change nothing), then one folder of tests, then
`script/demo --once` with an engine of the machine's own. As an installation, with systemd: `install.sh` runs twice, an
app is pushed, the machine reboots, the app answers. Needs root, mmdebstrap and an engine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support")]

import docker  # noqa: E402
from machines import (  # noqa: E402
    NO_MODULES,
    PERSON,
    SYSTEMD,
    UBUNTU,
    UBUNTU_KEYRING,
    Machine,
    Recipe,
    booted,
    clone,
    machine,
)
from sites import Site  # noqa: E402
from tests_support import Repository, eventually, example, make_key  # noqa: E402

SUITES = ("bookworm", "trixie")
INSTALL = "install"
WAYS = ("root", PERSON, INSTALL)
FAST = "tests/application"
QUICK = 30.0
# Who owns what, when it changed and what it holds, of everything that set-up may touch.
SURVEY = (
    "(dpkg-query -W; getent passwd; getent group; cat .venv/stamp;"
    " find .venv -path '*/__pycache__' -prune -o -type f -printf '%p %s %T@ %u\\n' | sort;"
    " curl -s --unix-socket /var/run/docker.sock http://engine/images/json) | sha256sum"
)


class Proof:
    """One suite as one user."""

    def __init__(self, made: Machine, user: str) -> None:
        self._made = made
        self._user = user
        self._home = "/root/cygni" if user == "root" else f"/home/{user}/cygni"
        self.times: dict[str, float] = {}

    def receive(self, source: Path) -> None:
        owner = int(self._made.run("id", "-u", self._user).output)
        self._made.copy(source, self._home, owner=owner)

    def step(self, name: str, *words: str) -> str:
        print(f"\n=== {self._user}: {name}", flush=True)
        began = time.monotonic()
        answer = self._made.run(*words, user=self._user, cwd=self._home, show=True)
        self.times[name] = time.monotonic() - began
        return answer.output

    def survey(self) -> str:
        return self._made.shell(SURVEY, cwd=self._home).output

    def all(self, *, demo: bool) -> None:
        self.step("script/setup", "script/setup")
        before = self.survey()
        said = self.step("script/setup again", "script/setup")
        assert not said.strip(), f"the second run had something to do: {said}"
        assert self.survey() == before, "the second run changed the machine"
        assert self.times["script/setup again"] < QUICK, "the second run is not quick"
        self.step(f"script/test {FAST}", "script/test", "-q", FAST)
        if demo:
            self.step("script/demo --once", "script/demo", "--once")


def prove(
    client: docker.DockerClient, recipe: Recipe, user: str, source: Path, *, demo: bool
) -> dict[str, float]:
    with machine(client, recipe) as made:
        proof = Proof(made, user)
        proof.receive(source)
        proof.all(demo=demo)
        return proof.times


def prove_installation(
    client: docker.DockerClient, recipe: Recipe, source: Path, folder: Path
) -> dict[str, float]:
    with_systemd = replace(recipe, packages=(*recipe.packages, *SYSTEMD), commands=(NO_MODULES,))
    with machine(client, with_systemd, systemd=True) as made:
        proof = Proof(made, "root")
        proof.receive(source)
        site = Site(made, make_key(folder / "key"))
        key = site.key.with_suffix(".pub").read_text().strip()
        proof.step("install.sh", "./install.sh", "--yes", "--key", key)
        proof.step("install.sh again", "./install.sh", "--yes", "--key", key)
        print(site.push(Repository(folder / "work", example("python")), "shop").stderr)
        made.restart()
        booted(made)
        eventually(lambda: answers(site), 120)
        return proof.times


def answers(site: Site) -> bool:
    try:
        return site.get("shop") == (200, "Hello from Python, version 1, release v1\n")
    except OSError:
        return False


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", default=SUITES, help=f"default: {' '.join(SUITES)}; also noble")
    parser.add_argument("--as", dest="way", choices=WAYS, help="default: each")
    parser.add_argument("--keyring", type=Path, default=UBUNTU_KEYRING, help="for Ubuntu's suites")
    parser.add_argument("--no-demo", action="store_true", help="leave script/demo out")
    arguments = parser.parse_args()
    client = docker.from_env(timeout=1800)
    failed, lines = False, []
    with tempfile.TemporaryDirectory(prefix="cygni-fresh-") as name:
        source = clone(ROOT, Path(name) / "cygni")
        for suite in arguments.suites:
            recipe = Recipe(suite, keyring=arguments.keyring if suite in UBUNTU else None)
            for way in [arguments.way] if arguments.way else WAYS:
                try:
                    if way == INSTALL:
                        folder = Path(tempfile.mkdtemp(dir=name))
                        times = prove_installation(client, recipe, source, folder)
                    else:
                        times = prove(client, recipe, way, source, demo=not arguments.no_demo)
                    steps = ", ".join(f"{step} {took:.0f} s" for step, took in times.items())
                    lines.append(f"ok      {suite} as {way}: {steps}")
                except AssertionError as error:
                    failed = True
                    lines.append(f"FAILED  {suite} as {way}: {error}")
                print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
