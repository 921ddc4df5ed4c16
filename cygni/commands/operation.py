"""Following an operation from a command: its lines to standard error, its failure as a sentence."""

from cygni.commands.context import Context
from cygni.operations import Operation


async def follow(context: Context, operation: Operation) -> str:
    """Show the operation's lines as they come and return its result line.

    Raises:
        UserError: it failed; the text says why.
    """
    async with context.services.builds.following(operation.output, operation.job) as lines:
        async for line in lines:
            await context.tell(line)
    return await context.services.operations.outcome(operation)
