"""Commands on the server's own shell: through the running server, or on the store while none runs."""

import asyncio
import os
import sys
from collections.abc import Sequence

from config import Settings
from cygni import control, messages
from cygni.commands import EXIT_FAILED, Context, dispatch, registry
from cygni.output import PROBLEM
from cygni.view import View
from gitserver.ports import Terminal


class _StandardEnds:
    """This process's standard streams as a command's ends."""

    async def read(self, limit: int) -> bytes:
        return await asyncio.to_thread(os.read, sys.stdin.fileno(), limit)

    async def out(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()

    @property
    def terminal(self) -> Terminal | None:
        """No command that runs while no server does has a use for one."""
        return None

    def take_terminal(self) -> Terminal | None:
        return None

    async def resized(self) -> Terminal:
        return await asyncio.Future()

    async def signalled(self) -> str:
        return await asyncio.Future()

    async def err(self, data: bytes) -> None:
        sys.stderr.buffer.write(data)
        sys.stderr.buffer.flush()


async def run_local(settings: Settings, words: Sequence[str], view: View) -> int:
    """Run a command as the owner of the state directory; returns its exit code."""
    command = registry.find(words[0])
    try:
        return await control.call(
            settings.control_socket,
            [view.word(), *words],
            give_terminal=command is not None and command.terminal,
        )
    except control.NotServingError:
        return await _run_offline(settings, words, view)


async def _run_offline(settings: Settings, words: Sequence[str], view: View) -> int:
    from cygni.app import offline_services
    from cygni.transports import operator

    ends = _StandardEnds()
    command = registry.find(words[0])
    if command is not None and not command.offline:
        await ends.err(f"{PROBLEM}{messages.needs_running_server(str(settings.data))}\n".encode())
        return EXIT_FAILED
    async with offline_services(settings) as services:
        context = Context(await operator(services.store), ends, services)
        return await dispatch(registry, [view.word(), *words], context)
