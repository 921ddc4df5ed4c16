"""Certificates that this host trusts beyond the distribution's."""

from pathlib import Path

from config.settings import Settings

LOCAL_CERTIFICATES = Path("/usr/local/share/ca-certificates")


def extra_certificates(settings: Settings) -> tuple[Path, ...]:
    """Files in PEM form, sorted; those of the host's local folder unless `CYGNI_EXTRA_CA` says otherwise."""
    if settings.extra_ca is not None:
        return settings.extra_ca
    return tuple(sorted(LOCAL_CERTIFICATES.glob("**/*.crt")))
