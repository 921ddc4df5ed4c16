"""Certificates that server admins bring: checked here, kept sealed in the store, shown by the router."""

import re
from datetime import datetime
from itertools import pairwise

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from cygni import messages
from cygni.domain.errors import UserError
from cygni.domain.models import Certificate
from cygni.store import Store
from router.client import RouterClient
from router.errors import RouterTimeoutError
from router.table import Certificate as Shown

ACKNOWLEDGE_LIMIT = 15.0
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----\s*", re.DOTALL)


def checked(name: str, text: str, now: datetime) -> Certificate:
    """Read a chain and its key from PEM text in any order.

    Raises:
        UserError: it could not be shown to a browser; the text says why.
    """
    chain, key = _read(text)
    leaf = chain[0]
    if _public(key.public_key()) != _public(leaf.public_key()):
        raise UserError(messages.bad_certificate("the key belongs to another certificate than the first one"))
    for issued, issuer in pairwise(chain):
        try:
            issued.verify_directly_issued_by(issuer)
        except (ValueError, TypeError, InvalidSignature):
            reason = "each certificate must be followed by the one that signed it"
            raise UserError(messages.bad_certificate(reason)) from None
    if leaf.not_valid_after_utc <= now:
        raise UserError(messages.bad_certificate(f"it expired on {leaf.not_valid_after_utc:%Y-%m-%d}"))
    return Certificate(
        name=name,
        hosts=_hosts(leaf),
        chain="".join(item.public_bytes(Encoding.PEM).decode() for item in chain),
        key=key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        expires_at=leaf.not_valid_after_utc,
    )


def _read(
    text: str,
) -> tuple[list[x509.Certificate], RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey]:
    data = text.encode()
    try:
        chain = x509.load_pem_x509_certificates(data)
        blocks = _KEY.findall(data)
        if len(blocks) != 1:
            raise UserError(messages.bad_certificate("exactly one private key must be in it"))
        key = serialization.load_pem_private_key(blocks[0], None)
    except TypeError:
        raise UserError(
            messages.bad_certificate("its key has a passphrase, which nobody could type here")
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise UserError(messages.bad_certificate("it is not PEM: a certificate chain and its key")) from None
    if not isinstance(key, RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey):
        raise UserError(messages.bad_certificate("browsers know RSA, ECDSA and Ed25519 keys"))
    return chain, key


def _hosts(leaf: x509.Certificate) -> tuple[str, ...]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        raise UserError(messages.bad_certificate("it names no host (subjectAltName)")) from None
    hosts = tuple(name.lower() for name in names.get_values_for_type(x509.DNSName))
    if not hosts:
        raise UserError(messages.bad_certificate("it names no host (subjectAltName)"))
    return hosts


def _public(key: CertificatePublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


class Certificates:
    """What the router shows to clients that ask for a host over TLS."""

    def __init__(self, store: Store, client: RouterClient) -> None:
        self._store = store
        self._client = client

    async def publish(self) -> None:
        """Give all of them to the router, which keeps them; called when the server starts."""
        for certificate in await self._store.certificates.list():
            await self._client.certify(_shown(certificate))

    async def add(self, certificate: Certificate) -> None:
        """Keep a certificate, or replace the one of its name, and show it.

        Raises:
            UserError: the router has not taken it yet; it will.
        """
        await self._store.certificates.put(certificate)
        await self._taken(await self._client.certify(_shown(certificate)))

    async def remove(self, name: str) -> None:
        """Forget a certificate.

        Raises:
            NotFoundError: there is none of that name.
            UserError: the router has not taken it out yet; it will.
        """
        await self._store.certificates.remove(name)
        await self._taken(await self._client.uncertify(name))

    async def _taken(self, version: int) -> None:
        try:
            await self._client.acknowledged(version, ACKNOWLEDGE_LIMIT)
        except RouterTimeoutError:
            raise UserError(messages.router_is_late()) from None


def _shown(certificate: Certificate) -> Shown:
    return Shown(certificate.name, certificate.hosts, certificate.chain, certificate.key)
