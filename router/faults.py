"""Heroku's error codes, and the small pages that carry them. No detail of the inside is shown."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from email.utils import formatdate
from html import escape
from http import HTTPStatus
from typing import Final

from router.head import RequestHead


@dataclass(frozen=True, slots=True)
class Fault:
    """What went wrong: the code for the log, the answer for the visitor."""

    code: str
    desc: str
    status: int
    text: str
    retry_after: int = 0
    """Seconds; 0 leaves the header out."""
    location: str = ""
    """Where to go instead: no fault of anybody's."""


_APP_ERROR = "The app could not answer this request. Its owner finds the reason in the app's log."

CRASHED: Final = Fault("H10", "App crashed", 503, _APP_ERROR)
BACKLOG: Final = Fault("H11", "Backlog too deep", 503, "Too many requests wait for this app.", 5)
TIMEOUT: Final = Fault("H12", "Request timeout", 503, "The app did not answer in time.")
NO_ANSWER: Final = Fault("H13", "Connection closed without response", 503, _APP_ERROR)
NO_WEB: Final = Fault("H14", "No web processes running", 503, "This app has no web process running.", 10)
IDLE: Final = Fault("H15", "Idle connection", 503, _APP_ERROR)
MALFORMED: Final = Fault("H17", "Poorly formatted HTTP response", 503, _APP_ERROR)
INTERRUPTED: Final = Fault("H18", "Server Request Interrupted", 503, _APP_ERROR)
CONNECT_TIMEOUT: Final = Fault("H19", "Backend connection timeout", 503, _APP_ERROR)
BOOT_TIMEOUT: Final = Fault(
    "H20", "App boot timeout", 503, "The app is starting and was not ready in time.", 5
)
CLIENT_GONE: Final = Fault("H27", "Client Request Interrupted", 499, "")
CLIENT_IDLE: Final = Fault("H28", "Client Connection Idle", 408, "The request did not arrive in time.")
BLANK: Final = Fault(
    "H81", "Blank app", 502, "There is nothing here yet: nothing has been deployed to this app.", 10
)


def unknown_host(host: bytes, domain: str) -> Fault:
    """Return the answer for a host that no app has."""
    name = host.decode("ascii", "replace")[:100] or "this address"
    return Fault("", "No such app", 404, f"No app answers at {name}. Apps here answer at APP.{domain}.")


def moved(address: str, *, safe: bool) -> Fault:
    """Return the answer to a request that is to be made elsewhere; one that is not `safe` keeps its method."""
    return Fault("", "Moved", 301 if safe else 308, f"This is now at {address}", location=address)


def refusal(status: int, reason: str) -> Fault:
    """Return the answer to a request that breaks the protocol."""
    return Fault("", reason, status, f"The request was refused: {reason}.")


def page(fault: Fault, head: RequestHead | None, request_id: str, *, keep_alive: bool) -> tuple[bytes, int]:
    """Write a whole answer in a form that the client accepts; returns it and the size of its body."""
    title = f"{fault.status} {_phrase(fault.status)}"
    kind, write = _form(head)
    body = write(fault, title, request_id).encode()
    fields = [
        f"HTTP/1.1 {title}",
        f"Date: {formatdate(usegmt=True)}",
        f"Content-Type: {kind}",
        f"Content-Length: {len(body)}",
        "Cache-Control: no-store",
        "Via: 1.1 cygni",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
    ]
    if request_id:
        fields.append(f"X-Request-Id: {request_id}")
    if fault.code:
        fields.append(f"X-Cygni-Error: {fault.code}")
    if fault.retry_after:
        fields.append(f"Retry-After: {fault.retry_after}")
    if fault.location:
        fields.append(f"Location: {fault.location}")
    if head is not None and head.method == b"HEAD":
        body = b""
    return "\r\n".join(fields).encode() + b"\r\n\r\n" + body, len(body)


def _form(head: RequestHead | None) -> tuple[str, Callable[[Fault, str, str], str]]:
    """Choose HTML or JSON where the client asks for it by name; text else."""
    fields = head.fields.lines if head is not None else []
    accepted = b",".join(line for line in fields if line[:7].lower() == b"accept:").lower()
    if b"text/html" in accepted:
        return "text/html; charset=utf-8", _html
    if b"application/json" in accepted or b"+json" in accepted:
        return "application/json", _json
    return "text/plain; charset=utf-8", _plain


def _phrase(status: int) -> str:
    return HTTPStatus(status).phrase


def _plain(fault: Fault, title: str, request_id: str) -> str:
    notes = "".join(f"{name}: {value}\n" for name, value in _notes(fault, request_id))
    return f"{title}\n\n{fault.text}\n{notes}"


def _json(fault: Fault, title: str, request_id: str) -> str:
    told = {"status": fault.status, "title": title, "code": fault.code, "detail": fault.text}
    return json.dumps({**told, "request_id": request_id}) + "\n"


def _html(fault: Fault, title: str, request_id: str) -> str:
    notes = "".join(f"<br>{name}: <code>{escape(value)}</code>" for name, value in _notes(fault, request_id))
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
        '<meta name="viewport" content="width=device-width">'
        "<style>body{font:1rem/1.5 system-ui;max-width:36rem;margin:15vh auto;padding:0 1rem}</style>"
        f"<h1>{title}</h1><p>{escape(fault.text)}</p><p><small>{notes.removeprefix('<br>')}</small></p></html>\n"
    )


def _notes(fault: Fault, request_id: str) -> list[tuple[str, str]]:
    code = f"{fault.code} ({fault.desc})" if fault.code else ""
    return [(name, value) for name, value in (("Error", code), ("Request", request_id)) if value]
