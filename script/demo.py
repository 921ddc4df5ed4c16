"""Pushes the examples to a server of its own, with real git over SSH, and shows what they answer."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "support"))

from tests_support import Load, Repository, Server, eventually, example, running_server  # noqa: E402


def push(server: Server, root: Path, name: str) -> Repository:
    print(f"\n$ git push {server.url(name)} main", flush=True)
    work = Repository(root / name, example(name))
    print(server.push(work, name).stderr, flush=True)
    status, body = server.get(name)
    print(f"$ curl http://{name}.localhost:{server.ports['http_port']}/\n{status}: {body[:300]}", flush=True)
    assert status == 200, f"{name} answered {status}"
    return work


def swap(server: Server, work: Repository, name: str) -> None:
    """A second version under load: no request may fail."""
    changed = (work.path / "app.py").read_text().replace('VERSION = "1"', 'VERSION = "2"')
    with Load(server, name) as load:
        work.commit({"app.py": changed})
        began = time.monotonic()
        print(server.push(work, name).stderr, flush=True)
        took = time.monotonic() - began
        eventually(lambda: any("version 2" in body for body in load.bodies))
    print(f"second push: {took:.1f} s, {load.answers} requests meanwhile, {len(load.failures)} failed")
    assert not load.failures, load.failures[:5]


def main() -> int:
    once = "--once" in sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="cygni-demo-") as folder:
        root = Path(folder)
        with running_server(root, network="10.198.0.0/24") as server:
            try:
                work = push(server, root, "python")
                swap(server, work, "python")
                if not once:
                    for name in ("node", "static", "dockerfile"):
                        push(server, root, name)
                    wait(server)
            except BaseException:
                print(server.log()[-4000:], file=sys.stderr)
                raise
    return 0


def wait(server: Server) -> None:
    print(
        f"\nServing. Your own app: git push {server.url('myapp')} main, with GIT_SSH_COMMAND='ssh -i {server.key}'"
    )
    print("Ctrl-C stops it and removes its containers.", flush=True)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("stopping")


if __name__ == "__main__":
    sys.exit(main())
