"""Carries command lines to the registry: from SSH sessions, and from the server's own shell."""

from collections.abc import Sequence

from cygni import messages
from cygni.commands import EXIT_LATER, EXIT_USAGE, Context, Ends, dispatch, registry
from cygni.commands.parser import UsageError, split
from cygni.commands.rate import CommandRate
from cygni.domain.models import User
from cygni.keys import UsedKeys
from cygni.output import PROBLEM
from cygni.services import Services
from cygni.store import Store
from gitserver.ports import Session

OPERATOR = "operator"


class SshCommands:
    """Implements the git server's CommandHandler on the registry."""

    def __init__(self, services: Services, used: UsedKeys, rate: CommandRate) -> None:
        self._services = services
        self._used = used
        self._rate = rate

    async def run(self, session: Session) -> int:
        """Run the client's command line as the owner of its key."""
        principal = session.principal
        if wait := self._rate.take(principal.id):
            await session.err(f"{PROBLEM}{messages.too_many_commands(wait)}\n".encode())
            return EXIT_LATER
        await self._used.note(principal)
        try:
            words = split(session.command)
        except UsageError as error:
            await session.err(f"{PROBLEM}{error}\n".encode())
            return EXIT_USAGE
        user = User(principal.id, principal.name, principal.admin)
        return await dispatch(registry, words, Context(user, session, self._services, principal.address))


class LocalCommands:
    """Runs commands from the control socket as the operator, who is a server admin."""

    def __init__(self, services: Services) -> None:
        self._services = services

    async def run(self, words: Sequence[str], ends: Ends) -> int:
        """Run one command."""
        user = await operator(self._services.store)
        return await dispatch(registry, words, Context(user, ends, self._services))


async def operator(store: Store) -> User:
    """The user that the server's own shell acts as."""
    return await store.users.ensure(OPERATOR, admin=True)
