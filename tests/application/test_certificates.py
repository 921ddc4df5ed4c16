"""What certs:add takes and refuses, and why."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import pytest
from authority import Authority
from cryptography.hazmat.primitives.serialization import Encoding
from tests_support import Repository

from cygni.certificates import checked
from cygni.domain.errors import UserError

Make = Callable[[Mapping[str, str]], Repository]
NOW = datetime.now(UTC)


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


def test_chain_and_key_are_taken_in_any_order(authority: Authority) -> None:
    issued = authority.issue("shop", "shop.test", "*.shop.test")
    root = authority.certificate.public_bytes(Encoding.PEM).decode()
    for text in (
        issued.chain + issued.key,
        issued.key + issued.chain,
        issued.chain + issued.key + root,
        issued.chain + root + issued.key,
    ):
        found = checked("shop", text, NOW)
        assert found.hosts == ("shop.test", "*.shop.test")
        assert issued.chain in found.chain
        assert found.expires_at > NOW
        assert found.key not in repr(found)


def test_what_a_browser_would_not_take_is_refused_with_the_reason(authority: Authority) -> None:
    one, two = authority.issue("one", "one.test"), authority.issue("two", "two.test")
    old, nameless = authority.issue("old", "old.test", days=-1), authority.issue("nameless")
    for text, reason in (
        ("", "not PEM"),
        ("nonsense", "not PEM"),
        (one.chain, "one private key"),
        (one.chain + one.key + two.key, "one private key"),
        (one.chain + two.key, "another certificate"),
        (one.chain + two.chain + one.key, "followed by the one that signed it"),
        (old.chain + old.key, "expired"),
        (nameless.chain + nameless.key, "names no host"),
    ):
        with pytest.raises(UserError, match=reason):
            checked("x", text, NOW)
