"""How this machine's apt reaches Debian, so that a bootstrap reaches it the same way.

Sources: sources.list(5), apt.conf(5), mmdebstrap(1).
"""

import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

ETC = Path("/etc/apt")
_SECONDS = 20
_KEYRING = "debian-archive-keyring"
_OPTIONS = re.compile(
    r'^Acquire::(?:https?::[^ ]+|Check-Valid-Until|Check-Date|Retries|ForceIPv4|ForceIPv6) "[^"]+";$'
)


def options() -> list[str]:
    """Settings of apt about how to fetch: proxies, certificates, dates. Blocks for as long as apt-config runs."""
    if shutil.which("apt-config") is None:
        return []
    dump = subprocess.run(
        ["apt-config", "dump"], capture_output=True, text=True, timeout=_SECONDS, check=False
    )
    return [line for line in dump.stdout.splitlines() if _OPTIONS.match(line)]


def debian_sources(suite: str, etc: Path = ETC) -> dict[str, str]:
    """Debian's own sources for a suite that this machine uses, as file names and texts; empty for another suite.

    Other archives are left out: the image has no key for them.
    """
    files = [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))]
    found: dict[str, str] = {}
    for file in files:
        if file.suffix in {".list", ".sources"} and file.is_file():
            pick = _stanzas if file.suffix == ".sources" else _lines
            if text := pick(file.read_text(errors="replace"), suite):
                found[file.name] = text
    main = re.compile(rf"(?:^|\s){re.escape(suite)}(?:\s|$)", re.MULTILINE)
    return found if any(main.search(text) for text in found.values()) else {}


def _stanzas(text: str, suite: str) -> str:
    return "\n".join(
        stanza + "\n" for stanza in re.split(r"\n\s*\n", text.strip()) if _is_debian(stanza, suite)
    )


def _is_debian(stanza: str, suite: str) -> bool:
    fields = {
        name.strip().lower(): value.strip()
        for name, _, value in (
            line.partition(":") for line in stanza.splitlines() if not line.startswith("#")
        )
    }
    signed = fields.get("signed-by", _KEYRING)
    return (
        "deb" in fields.get("types", "").split()
        and fields.get("enabled", "yes") != "no"
        and _KEYRING in signed
        and _of_suite(fields.get("suites", "").split(), suite)
    )


def _lines(text: str, suite: str) -> str:
    kept = []
    for line in text.splitlines():
        match = re.match(r"^\s*deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s+(\S+)\s+\S", line)
        if (
            match
            and _of_suite([match[3]], suite)
            and ("signed-by" not in (match[1] or "") or _KEYRING in match[1])
        ):
            kept.append(line)
    return "".join(line + "\n" for line in kept)


def _of_suite(names: Iterable[str], suite: str) -> bool:
    return any(name in {suite, f"{suite}-updates", f"{suite}-security"} for name in names)
