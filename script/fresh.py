"""Proves that set-up, tests and demo work on fresh machines: `script/fresh [SUITE…] [--user root|person]`.

For each suite and user: a container with a bare distribution and a clean clone of the last commit. There
`script/setup` runs twice (the second run has to be quick and change nothing), then one folder of tests, then
`script/demo --once` with an engine of the machine's own. Needs root, mmdebstrap and an engine.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests" / "support")]

import docker  # noqa: E402
from machines import PERSON, UBUNTU, UBUNTU_KEYRING, Machine, Recipe, clone, machine  # noqa: E402

SUITES = ("bookworm", "trixie")
USERS = ("root", PERSON)
FAST = "tests/application"
QUICK = 15.0
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


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("suites", nargs="*", default=SUITES, help=f"default: {' '.join(SUITES)}; also noble")
    parser.add_argument("--user", choices=USERS, help="default: each")
    parser.add_argument("--keyring", type=Path, default=UBUNTU_KEYRING, help="for Ubuntu's suites")
    parser.add_argument("--no-demo", action="store_true", help="leave script/demo out")
    arguments = parser.parse_args()
    client = docker.from_env(timeout=1800)
    failed, lines = False, []
    with tempfile.TemporaryDirectory(prefix="cygni-fresh-") as folder:
        source = clone(ROOT, Path(folder) / "cygni")
        for suite in arguments.suites:
            recipe = Recipe(suite, keyring=arguments.keyring if suite in UBUNTU else None)
            for user in [arguments.user] if arguments.user else USERS:
                try:
                    times = prove(client, recipe, user, source, demo=not arguments.no_demo)
                    steps = ", ".join(f"{name} {took:.0f} s" for name, took in times.items())
                    lines.append(f"ok      {suite} as {user}: {steps}")
                except AssertionError as error:
                    failed = True
                    lines.append(f"FAILED  {suite} as {user}: {error}")
                print(lines[-1], flush=True)
    print("\n" + "\n".join(lines))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
