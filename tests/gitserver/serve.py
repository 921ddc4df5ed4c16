"""A server in a process of its own, for tests that kill it or measure it: serve.py DIRECTORY PUBLIC_KEY MODE."""

import asyncio
import sys
from pathlib import Path

import structlog

from gitserver.keys import parse_public_key
from gitserver.ports import Client, GitServerOptions, Principal, Push, Verdict
from gitserver.server import GitServer
from gitserver.testing import EchoCommands, MemoryKeys, MemoryPushes


async def hang(push: Push, client: Client) -> Verdict:
    await client.line("hanging")
    await asyncio.Event().wait()
    return Verdict(accepted=True)


async def main(directory: Path, public_key: Path, mode: str) -> None:
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    keys = MemoryKeys()
    keys.principals[parse_public_key(public_key.read_text()).fingerprint] = Principal("1", "ann", admin=True)
    pushes = MemoryPushes(directory / "repositories")
    if mode == "hang":
        pushes.received_by = hang
    server = GitServer(GitServerOptions("127.0.0.1", 0, directory / "state"), keys, pushes, EchoCommands())
    await server.start()
    sys.stdout.write(f"{server.port}\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
