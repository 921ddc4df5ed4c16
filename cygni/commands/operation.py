"""What commands that change things share: asking first, following the work, naming its failure."""

from cygni.commands import texts
from cygni.commands.context import Context
from cygni.domain.errors import UserError
from cygni.domain.models import App
from cygni.operations import Operation


async def confirm(context: Context, app: App, given: str | None, command: str) -> None:
    """Let pass who named the app once more, with `--confirm` or when asked.

    Raises:
        UserError: neither; the text says what to do.
    """
    if given is None:
        given = await context.ask(texts.confirm_question(app.name))
    if given != app.name:
        raise UserError(texts.confirm_needed(app.name, command))


async def follow(context: Context, operation: Operation) -> str:
    """Show the operation's lines as they come and return its result line.

    Raises:
        UserError: it failed; the text says why.
    """
    async with context.services.builds.following(operation.output, operation.job) as lines:
        async for line in lines:
            await context.tell(line)
    return await context.services.operations.outcome(operation)
