"""Heads as they go on: hop-by-hop fields left out, forwarding fields written by us (RFC 9110 7.6)."""

import os
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from router.head import RequestHead, ResponseHead

Network = IPv4Network | IPv6Network

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_\-+/=.:]{8,128}")
_FORWARDED: Final = re.compile(rb"[0-9A-Za-z.:,\[\] _\-]{1,1024}")
_NO_CONTENT: Final = 204


@dataclass(frozen=True, slots=True)
class Sender:
    """A client connection's other end, and what every request of it is told to the app."""

    address: bytes
    trusted: bool
    """A configured proxy: its forwarding fields are believed."""
    fields: bytes
    """The forwarding fields of a client that is not trusted."""
    port: bytes
    scheme: bytes = b"http"


def sender_of(peer: str, port: int, trusted: tuple[Network, ...]) -> Sender:
    """Describe a connection from `peer` to our `port`."""
    address, text = peer.partition("%")[0], str(port).encode()
    believed = bool(trusted) and any(ip_address(address) in network for network in trusted)
    fields = (
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Port: %b\r\nVia: 1.1 cygni\r\n"
        b"X-Forwarded-Host: " % (address.encode(), text)
    )
    return Sender(address.encode(), believed, fields, text)


def request_id_of(head: RequestHead) -> bytes:
    """Return the client's request id if it is well formed, else a new one."""
    given = head.special.get(b"x-request-id")
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given
    fresh = os.urandom(16).hex()
    return f"{fresh[:8]}-{fresh[8:12]}-4{fresh[13:16]}-a{fresh[17:20]}-{fresh[20:]}".encode()


def forwarded_for(head: RequestHead, sender: Sender) -> bytes:
    """Return the X-Forwarded-For that goes on: the chain a trusted proxy tells, and its own address."""
    chain = head.special.get(b"x-forwarded-for", b"") if sender.trusted else b""
    return b"%b, %b" % (chain, sender.address) if _FORWARDED.fullmatch(chain) else sender.address


def request_bytes(head: RequestHead, sender: Sender, request_id: bytes, started: float) -> bytes:
    """Write the head an instance gets. `started` is Unix time."""
    lines = [b"%b %b HTTP/1.1\r\nHost: %b" % (head.method, head.target, head.host), *head.lines]
    if head.length < 0:
        lines.append(b"Transfer-Encoding: chunked")
    elif b"content-length" in head.special:
        lines.append(b"Content-Length: %d" % head.length)
    if head.expects_continue:
        lines.append(b"Expect: 100-continue")
    if head.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: " + head.upgrade)
    forwarding = _believed(head, sender) if sender.trusted else sender.fields + head.host
    lines.append(
        b"%b\r\nX-Request-Id: %b\r\nX-Request-Start: %d\r\n\r\n" % (forwarding, request_id, started * 1_000)
    )
    return b"\r\n".join(lines)


def _believed(head: RequestHead, sender: Sender) -> bytes:
    told = head.special
    lines = [
        b"X-Forwarded-For: " + forwarded_for(head, sender),
        b"X-Forwarded-Proto: " + told.get(b"x-forwarded-proto", sender.scheme),
        b"X-Forwarded-Port: " + told.get(b"x-forwarded-port", sender.port),
        b"X-Forwarded-Host: " + told.get(b"x-forwarded-host", head.host),
        b"Via: 1.1 cygni",
    ]
    if b"forwarded" in told:
        lines.append(b"Forwarded: " + told[b"forwarded"])
    return b"\r\n".join(lines)


def response_bytes(answer: ResponseHead, request: RequestHead, *, chunked: bool, keep_alive: bool) -> bytes:
    """Write the head a client gets; `chunked` says how the body that follows is framed."""
    lines = [b"HTTP/1.1 %d %b" % (answer.status, answer.reason), *answer.lines]
    if chunked:
        lines.append(b"Transfer-Encoding: chunked")
    elif b"content-length" in answer.special and answer.status != _NO_CONTENT:
        lines.append(b"Content-Length: " + answer.special[b"content-length"])
    if not keep_alive:
        lines.append(b"Connection: close")
    elif request.minor == 0:
        lines.append(b"Connection: keep-alive")
    lines.append(b"Via: 1.1 cygni\r\n\r\n")
    return b"\r\n".join(lines)


def switching_bytes(answer: ResponseHead) -> bytes:
    """Write the head of a 101 answer."""
    upgrade = answer.special.get(b"upgrade", b"websocket")
    lines = [
        b"HTTP/1.1 101 %b" % answer.reason,
        *answer.lines,
        b"Connection: Upgrade",
        b"Upgrade: " + upgrade,
    ]
    return b"\r\n".join((*lines, b"Via: 1.1 cygni\r\n\r\n"))


def interim_bytes(answer: ResponseHead) -> bytes:
    """Write the head of an interim answer."""
    return b"\r\n".join((b"HTTP/1.1 %d %b" % (answer.status, answer.reason), *answer.lines, b"\r\n"))
