"""Requests that came unencrypted to an app that is to be reached encrypted only."""

from typing import Final
from urllib.parse import quote

from router import faults
from router.faults import Fault
from router.forward import Sender
from router.head import RequestHead

_HTTPS: Final = 443
_URL: Final = "".join(map(chr, range(0x21, 0x7F)))


def redirection(head: RequestHead, sender: Sender, https_port: int) -> Fault | None:
    """Return the answer that sends a client to the https address; None when it is there, or there is none."""
    told = head.fields.special.get(b"x-forwarded-proto") if sender.trusted else None
    if (told or sender.scheme) == b"https" or not (https_port or sender.trusted):
        return None
    name = head.fields.host.decode("ascii")
    host = name.partition("]")[0] + "]" if name.startswith("[") else name.partition(":")[0]
    port = "" if sender.trusted or https_port == _HTTPS else f":{https_port}"
    path = "/" if head.target == b"*" else head.target.decode("latin-1")
    address = f"https://{host}{port}{quote(path, safe=_URL, encoding='latin-1')}"
    return faults.moved(address, safe=head.method in (b"GET", b"HEAD"))
