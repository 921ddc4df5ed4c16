"""Heads as they go on: hop-by-hop fields left out, forwarding fields written by us (RFC 9110 7.6)."""

import os
import random
import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Final

from router.answer import ResponseHead
from router.head import RequestFields, RequestHead

Network = IPv4Network | IPv6Network

_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9_\-+/=.:]{8,128}")
_FORWARDED: Final = re.compile(rb"[0-9A-Za-z.:,\[\] _\-]{1,1024}")
_NO_CONTENT: Final = 204
_VIA: Final = b"Via: 1.1 cygni\r\n\r\n"
_IDS_A_PREFIX: Final = 4_096


@dataclass(frozen=True, slots=True)
class Sender:
    """A client connection's other end, and what every request of it is told to the app."""

    address: bytes
    trusted: bool
    """A configured proxy: its forwarding fields are believed."""
    fields: bytes
    """The forwarding fields of a client that is not trusted."""
    port: bytes
    scheme: bytes


def sender_of(peer: str, port: int, trusted: tuple[Network, ...], scheme: bytes) -> Sender:
    """Describe a connection from `peer` to our `port`."""
    address, text = peer.partition("%")[0], str(port).encode()
    believed = bool(trusted) and any(ip_address(address) in network for network in trusted)
    fields = (
        b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Port: %b\r\nVia: 1.1 cygni\r\n"
        b"X-Forwarded-Host: " % (address.encode(), scheme, text)
    )
    return Sender(address.encode(), believed, fields, text, scheme)


class RequestIds:
    """Makes ids that are unique and look like random UUIDs; cheap, not secret."""

    def __init__(self) -> None:
        self._prefix = b""
        self._left = 0

    def of(self, head: RequestHead) -> bytes:
        """Return the client's request id if it is well formed, else a new one."""
        given = head.fields.special.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        if self._left == 0:
            self._prefix, self._left = _prefix(), _IDS_A_PREFIX
        self._left -= 1
        return b"%b%012x" % (self._prefix, random.getrandbits(48))


def _prefix() -> bytes:
    fresh = os.urandom(8).hex()
    return f"{fresh[:8]}-{fresh[8:12]}-4{fresh[13:16]}-a{os.urandom(2).hex()[:3]}-".encode()


def forwarded_for(head: RequestHead, sender: Sender) -> bytes:
    """Return the X-Forwarded-For that goes on: the chain a trusted proxy tells, and its own address."""
    if not sender.trusted:
        return sender.address
    chain = head.fields.special.get(b"x-forwarded-for", b"")
    return b"%b, %b" % (chain, sender.address) if _FORWARDED.fullmatch(chain) else sender.address


def request_bytes(head: RequestHead, sender: Sender, request_id: bytes, started: float) -> bytes:
    """Write the head an instance gets. `started` is Unix time."""
    outgoing = head.fields.outgoing
    if not outgoing:
        outgoing = head.fields.outgoing = _outgoing(head, sender)
    return b"%b %b HTTP/1.1\r\n%b\r\nX-Request-Id: %b\r\nX-Request-Start: %d\r\n\r\n" % (
        head.method,
        head.target,
        outgoing,
        request_id,
        started * 1_000,
    )


def _outgoing(head: RequestHead, sender: Sender) -> bytes:
    fields = head.fields
    lines = [b"Host: " + fields.host, *fields.lines]
    if fields.length < 0:
        lines.append(b"Transfer-Encoding: chunked")
    elif b"content-length" in fields.special:
        lines.append(b"Content-Length: %d" % fields.length)
    if fields.expects_continue:
        lines.append(b"Expect: 100-continue")
    if fields.upgrade:
        lines.append(b"Connection: Upgrade\r\nUpgrade: " + fields.upgrade)
    if sender.trusted:
        lines += _believed(fields, sender, forwarded_for(head, sender))
    else:
        lines.append(sender.fields + fields.host)
    return b"\r\n".join(lines)


def _believed(fields: RequestFields, sender: Sender, chain: bytes) -> list[bytes]:
    told = fields.special
    lines = [
        b"X-Forwarded-For: " + chain,
        b"X-Forwarded-Proto: " + told.get(b"x-forwarded-proto", sender.scheme),
        b"X-Forwarded-Port: " + told.get(b"x-forwarded-port", sender.port),
        b"X-Forwarded-Host: " + told.get(b"x-forwarded-host", fields.host),
        b"Via: 1.1 cygni",
    ]
    if b"forwarded" in told:
        lines.append(b"Forwarded: " + told[b"forwarded"])
    return lines


def response_bytes(answer: ResponseHead, minor: int, *, chunked: bool, keep_alive: bool) -> bytes:
    """Write the head a client of HTTP/1.`minor` gets; `chunked` says how the body that follows is framed."""
    usual = keep_alive and minor == 1 and not chunked
    if usual and answer.outgoing:
        return answer.outgoing
    if chunked:
        ours = b"Transfer-Encoding: chunked\r\n"
    else:
        ours = b"" if answer.status == _NO_CONTENT else answer.framing.content_length
    if not keep_alive:
        ours += b"Connection: close\r\n"
    elif minor == 0:
        ours += b"Connection: keep-alive\r\n"
    written = b"\r\n".join((answer.line, *answer.lines, ours + _VIA))
    if usual:
        answer.outgoing = written
    return written


def switching_bytes(answer: ResponseHead) -> bytes:
    """Write the head of a 101 answer."""
    ours = b"Connection: Upgrade\r\nUpgrade: %b\r\n%b" % (answer.framing.upgrade, _VIA)
    return b"\r\n".join((answer.line, *answer.lines, ours))


def interim_bytes(answer: ResponseHead) -> bytes:
    """Write the head of an interim answer."""
    return b"\r\n".join((answer.line, *answer.lines, b"\r\n"))
