"""A failed step's last lines to the failure they mean."""

import re
from collections.abc import Sequence

from buildpacks.failure_patterns import COLLECTSTATIC, PATTERNS, PURPOSES, Pattern
from buildpacks.messages import failure
from buildpacks.plan import Failure
from buildpacks.system_packages import LIBRARIES, PROGRAMS, package_of_header, package_of_library

_TAIL_LINES = 200
_LINE_LENGTH = 2000
_OUT_OF_MEMORY = 137
_NOT_FOUND = 127


def classify(step: str, exit_code: int | None, tail: Sequence[str]) -> Failure | None:
    """What a failed build step means, None when its output says nothing that is known.

    Args:
        step: the step as the build names it, such as its RUN line.
        exit_code: of the step's command, where it ended.
        tail: the last lines it printed, redacted.
    """
    lines = [line[:_LINE_LENGTH] for line in tail][-_TAIL_LINES:]
    for pattern in PATTERNS:
        if pattern.steps and not any(words in step for words in pattern.steps):
            continue
        for line in lines:
            match = pattern.expression.search(line)
            if match is not None:
                return _named(pattern, match, line, step)
    return _by_exit_code(step, exit_code, lines) or _by_step(step, exit_code, lines)


def _named(pattern: Pattern, match: re.Match[str], line: str, step: str) -> Failure:
    name = next((group for group in match.groups() if group), "")
    debian = _debian_package(name)
    facts = {
        "name": name or "a program",
        "package": f" ({debian})" if debian else "",
        "advice": pattern.advice or _package_advice(debian),
    }
    return failure(pattern.identifier, line=line.strip(), step=step, **facts)


def _debian_package(name: str) -> str | None:
    """The package of a header, a library (by its file or by what a linker calls it) or a program."""
    if name.endswith((".h", ".hpp")):
        return package_of_header(name)
    if ".so" in name:
        return package_of_library(name)
    return PROGRAMS.get(name) or LIBRARIES.get(f"lib{name}.so")


def _package_advice(debian: str | None) -> str:
    if debian is None:
        return (
            "Find the Debian package that has it, and add it to packages.build or packages.run in cygni.toml."
        )
    key = "packages.build" if debian.endswith("-dev") else "packages.run"
    return f'Add it to {key} in cygni.toml: ["{debian}"].'


def _by_exit_code(step: str, exit_code: int | None, lines: Sequence[str]) -> Failure | None:
    if exit_code == _OUT_OF_MEMORY:
        return failure("build/out-of-memory", step=step)
    if exit_code == _NOT_FOUND:
        found = (re.search(r"([^\s:]+): (?:command )?not found", line) for line in reversed(lines))
        name = next((match[1] for match in found if match), "")
        debian = PROGRAMS.get(name)
        package = f" It is in the Debian package {debian}: add that to packages.build." if debian else ""
        return failure("build/command-not-found", name=name, step=step, package=package) if name else None
    return None


def _by_step(step: str, exit_code: int | None, lines: Sequence[str]) -> Failure | None:
    """What the step was for, when its output names no cause."""
    words, identifier = next((purpose for purpose in PURPOSES if purpose[0] in step), ("", None))
    if identifier is None:
        return None
    last = next((line.strip() for line in reversed(lines) if line.strip()), "no output")
    if identifier == "python/collectstatic":
        for cause, expression in COLLECTSTATIC:
            told = next((line.strip() for line in reversed(lines) if expression.search(line)), None)
            if told is not None:
                identifier, last = cause, told
                break
    code = exit_code if exit_code is not None else "unknown"
    return failure(identifier, code=code, line=last, name=words)
