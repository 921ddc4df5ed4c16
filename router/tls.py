"""TLS for clients: certificates chosen by the name a client asks for, replaced while connections stand."""

import logging
import os
import ssl
from collections.abc import Mapping

from router.table import Certificate, canonical_host

_log = logging.getLogger(__name__)
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL"


class Certificates:
    """What handshakes are answered with. `context` is what servers are made with; it never changes."""

    def __init__(self) -> None:
        """Until `install`, every handshake is refused."""
        self.context = _bare()
        self.context.sni_callback = self._choose
        self._hosts: dict[str, Certificate] = {}
        self._contexts: dict[Certificate, ssl.SSLContext | None] = {}

    def install(self, certificates: Mapping[str, Certificate]) -> None:
        """Answer with these from now on. Loaded when first asked for: there may be thousands."""
        self._hosts = {host: item for item in certificates.values() for host in item.hosts}
        kept = set(certificates.values())
        self._contexts = {item: context for item, context in self._contexts.items() if item in kept}

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> int | None:
        certificate = self._find(name or "")
        if certificate is None:
            return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
        if certificate not in self._contexts:
            self._contexts[certificate] = _loaded(certificate)
        context = self._contexts[certificate]
        if context is None:
            return ssl.ALERT_DESCRIPTION_INTERNAL_ERROR
        connection.context = context
        return None

    def _find(self, name: str) -> Certificate | None:
        """Find by exact name, then by the wildcard one label up, then the one for whoever asks for nothing known."""
        host = canonical_host(name)
        return self._hosts.get(host) or self._hosts.get("*." + host.partition(".")[2]) or self._hosts.get("*")


def _bare() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(_CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    return context


def _loaded(certificate: Certificate) -> ssl.SSLContext | None:
    """Load a certificate; None, and a line in the log, for one that cannot be used."""
    context = _bare()
    descriptor = os.memfd_create("certificate", os.MFD_CLOEXEC)  # the loader takes files only; this is none
    try:
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(f"{certificate.key}\n{certificate.chain}".encode())
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
    except (ssl.SSLError, OSError) as error:
        _log.error("the certificate %s cannot be used: %s", certificate.name, error)
        return None
    finally:
        os.close(descriptor)
    return context
