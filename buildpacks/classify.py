"""A failed step's last lines to the failure they mean."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from buildpacks.messages import failure
from buildpacks.plan import Failure

_TAIL_LINES = 200
_LINE_LENGTH = 2000
_OUT_OF_MEMORY = 137
_NOT_FOUND = 127


@dataclass(frozen=True)
class _Pattern:
    """A line to look for. Its first group, where there is one, is the name that the message shows."""

    identifier: str
    expression: re.Pattern[str]
    advice: str = ""


def _pattern(identifier: str, expression: str, advice: str = "") -> _Pattern:
    return _Pattern(identifier, re.compile(expression), advice)


_PACKAGES = {
    "Python.h": "python3-dev",
    "libpq-fe.h": "libpq-dev",
    "mysql.h": "default-libmysqlclient-dev",
    "sqlite3.h": "libsqlite3-dev",
    "ffi.h": "libffi-dev",
    "openssl/ssl.h": "libssl-dev",
    "libxml/xmlversion.h": "libxml2-dev",
    "jpeglib.h": "libjpeg-dev",
    "zlib.h": "zlib1g-dev",
    "yaml.h": "libyaml-dev",
    "cairo.h": "libcairo2-dev",
}
"""Debian packages of headers that dependencies are compiled with most often."""

# Looked for in this order, each in every line: what names a cause comes before what only names a symptom.
_PATTERNS = (
    _pattern("build/disk-full", r"No space left on device|ENOSPC"),
    _pattern("node/heap", r"JavaScript heap out of memory"),
    _pattern("node/runtime-unavailable", r"(?:notarget|ETARGET|404).*(node-linux-[a-z0-9]+@[^\s']*)"),
    _pattern("node/build-lockfile-out-of-sync", r"can only install (?:packages )?when your package\.json and|npm (?:ERR!|error) Missing: \S+ from lock file"),
    _pattern("node/no-matching-version", r"No matching version found for (\S+?)\.?(?:\s|$)"),
    _pattern("node/package-not-found", r"npm (?:ERR!|error) 404\s+'?([^\s']+@[^\s']+)'? is not in"),
    _pattern("node/package-not-found", r"npm (?:ERR!|error) 404 Not Found - GET (\S+)"),
    _pattern("node/peer-conflict", r"npm (?:ERR!|error) (?:code )?ERESOLVE"),
    _pattern("python/hash-mismatch", r"THESE PACKAGES DO NOT MATCH THE HASHES"),
    _pattern("python/invalid-requirement", r"Invalid requirement: (.+)"),
    _pattern("python/dependency-conflict", r"ResolutionImpossible|Cannot install .+ because these package versions have conflicting"),
    _pattern(
        "build/network",
        r"Temporary failure in name resolution|Could not resolve host|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ReadTimeoutError"
        r"|ConnectTimeoutError|NewConnectionError|Connection timed out|Network is unreachable|503 Service Unavailable",
    ),
    _pattern("python/package-not-found", r"No matching distribution found for (\S+)"),
    _pattern("python/package-not-found", r"Could not find a version that satisfies the requirement (\S+)"),
    _pattern("build/missing-header", r"fatal error: (\S+\.h(?:pp)?): No such file"),
    _pattern("python/missing-library", r"(pg_config) executable not found", "Use psycopg2-binary, or add a Dockerfile that installs libpq-dev."),
    _pattern("python/missing-library", r"(?:Can not find valid pkg-config name|(mysql_config) not found)", "Add a Dockerfile that installs default-libmysqlclient-dev and pkg-config."),
    _pattern("build/no-compiler", r"(?:error: command '?(\S+?)'? failed: No such file|unable to execute '?(\S+?)'?: No such file|(?:gyp|make).*(?:not found: make|make: not found))"),
)  # fmt: skip


def classify(step: str, exit_code: int | None, tail: Sequence[str]) -> Failure | None:
    """What a failed build step means, None when its output says nothing that is known.

    Args:
        step: the step as the build names it, such as its RUN line.
        exit_code: of the step's command, where it ended.
        tail: the last lines it printed, redacted.
    """
    lines = [line[:_LINE_LENGTH] for line in tail][-_TAIL_LINES:]
    for pattern in _PATTERNS:
        for line in lines:
            match = pattern.expression.search(line)
            if match is not None:
                return _named(pattern, match, line, step)
    return _by_exit_code(step, exit_code, lines) or _by_step(step, exit_code, lines)


def _named(pattern: _Pattern, match: re.Match[str], line: str, step: str) -> Failure:
    name = next((group for group in match.groups() if group), "")
    debian = _PACKAGES.get(name)
    package = f" ({debian})" if debian else ""
    facts = {"name": name or "a compiler", "package": package, "advice": pattern.advice}
    return failure(pattern.identifier, line=line.strip(), step=step, **facts)


def _by_exit_code(step: str, exit_code: int | None, lines: Sequence[str]) -> Failure | None:
    if exit_code == _OUT_OF_MEMORY:
        return failure("build/out-of-memory", step=step)
    if exit_code == _NOT_FOUND:
        found = (re.search(r"([^\s:]+): (?:command )?not found", line) for line in reversed(lines))
        name = next((match[1] for match in found if match), "")
        return failure("build/command-not-found", name=name, step=step) if name else None
    return None


def _by_step(step: str, exit_code: int | None, lines: Sequence[str]) -> Failure | None:
    """What the step was for, when its output names no cause."""
    purposes = (
        ("manage.py collectstatic", "python/collectstatic"),
        ("pip --python", "python/install-failed"),
        ("npm run", "node/build-script"),
        ("npm ci", "node/install-failed"),
        ("npm install", "node/install-failed"),
    )
    identifier = next((identifier for words, identifier in purposes if words in step), None)
    if identifier is None:
        return None
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    return failure(identifier, code=exit_code if exit_code is not None else "unknown", line=last)
