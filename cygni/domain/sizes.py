"""Memory and processors as people write them: `512M`, `1.5G:0.5`, or a size by name."""

import re

from cygni.domain.models import ProcessLimits

SIZES = {
    "small": ProcessLimits(256 << 20, 0.5),
    "standard": ProcessLimits(512 << 20, 1.0),
    "large": ProcessLimits(1 << 30, 2.0),
    "xlarge": ProcessLimits(2 << 30, 4.0),
    "default": ProcessLimits(),
}
LEAST_MEMORY = 16 << 20
MOST_MEMORY = 1 << 40
LEAST_CPUS, MOST_CPUS = 0.05, 256.0

_MEMORY = re.compile(r"(\d{1,7}(?:\.\d{1,3})?)([KMGT])i?B?", re.IGNORECASE)
_UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def parse_size(text: str) -> ProcessLimits | None:
    """Read `512M`, `512M:0.5`, `:0.5` or a name; None for nonsense or what is out of range."""
    if text in SIZES:
        return SIZES[text]
    memory, colon, cpus = text.partition(":")
    found = ProcessLimits(parse_memory(memory) if memory else None, _cpus(cpus) if cpus else None)
    wrong = (memory and found.memory is None) or (colon and found.cpus is None) or not text
    return None if wrong else found


def parse_memory(text: str) -> int | None:
    """Read `512M` or `1.5G` as bytes; None for nonsense or what is out of range."""
    match = _MEMORY.fullmatch(text)
    if match is None:
        return None
    size = int(float(match[1]) * _UNITS[match[2].upper()])
    return size if LEAST_MEMORY <= size <= MOST_MEMORY else None


def _cpus(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if LEAST_CPUS <= value <= MOST_CPUS else None


def show_memory(size: int | None) -> str:
    """Bytes as `512M`, in the largest unit that keeps the number at or over 1; `-` for None."""
    if size is None:
        return "-"
    for unit in ("T", "G", "M"):
        if size >= _UNITS[unit]:
            return f"{size / _UNITS[unit]:.1f}".removesuffix(".0") + unit
    return f"{size / 1024:.0f}K"


def show_cpus(cpus: float | None) -> str:
    """Processors as `0.5`; `-` for None."""
    return "-" if cpus is None else f"{cpus:g}"
