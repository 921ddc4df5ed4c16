"""certs, certs:add, certs:remove."""

from datetime import UTC, datetime
from typing import Annotated

from cygni.certificates import checked
from cygni.commands import texts
from cygni.commands.context import Context
from cygni.commands.registry import Access, Argument, Flag, registry
from cygni.domain.errors import UserError
from cygni.domain.names import is_key_name


@registry.command("certs", "certs:list", access=Access.SERVER_ADMIN, examples=("certs",))
async def certs(context: Context, *, json: Annotated[bool, Flag("print JSON")] = False) -> None:
    """List the certificates that the router shows, and when each expires."""
    found = await context.services.store.certificates.list()
    if json:
        await context.print_json(
            [{"name": item.name, "hosts": item.hosts, "expires_at": item.expires_at} for item in found]
        )
        return
    rows = [(item.name, ", ".join(item.hosts), f"{item.expires_at:%Y-%m-%d}") for item in found]
    await context.print_table(("NAME", "HOSTS", "EXPIRES"), rows)


@registry.command(
    "certs:add",
    audited=True,
    access=Access.SERVER_ADMIN,
    examples=("certs:add wildcard < chain-and-key.pem",),
)
async def add(
    context: Context, name: Annotated[str, Argument("NAME", "the certificate's name; one in use is replaced")]
) -> None:
    """Show a certificate to clients that ask for its hosts over HTTPS.

    Read from standard input as PEM: the certificate, those that signed it in order, and its key.
    """
    if not is_key_name(name):
        raise UserError(texts.bad_key_name(name))
    text = (await context.read_input()).decode(errors="replace")
    certificate = checked(name, text, datetime.now(UTC))
    await context.note(f"{name} for {' '.join(certificate.hosts)}")
    await context.services.certificates.add(certificate)
    await context.tell(f"Adding certificate {name}... done", *_notes(context))
    await context.print(*certificate.hosts)


@registry.command(
    "certs:remove", audited=True, access=Access.SERVER_ADMIN, examples=("certs:remove wildcard",)
)
async def remove(context: Context, name: Annotated[str, Argument("NAME", "the certificate's name")]) -> None:
    """Show a certificate no longer."""
    await context.note(name)
    await context.services.certificates.remove(name)
    await context.tell(f"Removing certificate {name}... done")


def _notes(context: Context) -> list[str]:
    return [] if context.services.settings.https_port is not None else [texts.https_is_off()]
