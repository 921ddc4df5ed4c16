"""What is sealed, each value bound to its place."""

import json
from collections.abc import Mapping

from cygni.store.keyring import Keyring


def seal_value(keyring: Keyring, value: str, app_id: str, name: str) -> bytes:
    """Seal a config value."""
    return keyring.seal(value, _value(app_id, name))


def open_value(keyring: Keyring, sealed: bytes, app_id: str, name: str) -> str:
    """Open a config value."""
    return keyring.open(sealed, _value(app_id, name))


def seal_snapshot(keyring: Keyring, config: Mapping[str, str], app_id: str, version: int) -> bytes:
    """Seal a release's config."""
    return keyring.seal(json.dumps(dict(config)), _snapshot(app_id, version))


def open_snapshot(keyring: Keyring, sealed: bytes, app_id: str, version: int) -> dict[str, str]:
    """Open a release's config."""
    values: dict[str, str] = json.loads(keyring.open(sealed, _snapshot(app_id, version)))
    return values


def _value(app_id: str, name: str) -> str:
    return f"config/{app_id}/{name}"


def _snapshot(app_id: str, version: int) -> str:
    return f"release/{app_id}/{version}"
