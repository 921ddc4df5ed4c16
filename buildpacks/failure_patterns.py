"""What failed builds print, and which failure each line means.

Looked for in this order, each in every line of the end of the output: what names a cause comes before what only names
a symptom. The first group of an expression that matched is the name that the message shows.
"""

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Pattern:
    """A line to look for. `steps`: only in steps whose command holds one of these words; empty for any."""

    identifier: str
    expression: re.Pattern[str]
    advice: str = ""
    steps: tuple[str, ...] = ()


def _pattern(identifier: str, expression: str, advice: str = "", steps: tuple[str, ...] = ()) -> Pattern:
    return Pattern(identifier, re.compile(expression), advice, steps)


_NETWORK = (
    r"Temporary failure in name resolution|Could not resolve host|ECONNRESET|ETIMEDOUT|EAI_AGAIN|ENOTFOUND|ReadTimeoutError"
    r"|ConnectTimeoutError|NewConnectionError|Connection timed out|Connection reset by peer|Network is unreachable"
    r"|50[0234] (?:Service Unavailable|Bad Gateway|Gateway Time-?out|Internal Server Error)|socket hang up"
    r"|TLS handshake timeout|i/o timeout|error sending request for url|network is unreachable|Could not connect to server"
)

PATTERNS = (
    _pattern("build/disk-full", r"No space left on device|ENOSPC"),
    _pattern("build/package-unknown", r"E: Unable to locate package (\S+)"),
    _pattern("build/package-unknown", r"E: Package '(\S+)' has no installation candidate"),
    _pattern("node/heap", r"JavaScript heap out of memory"),
    _pattern("node/runtime-unavailable", r"(?:notarget|ETARGET|404).*(node-linux-[a-z0-9]+@[^\s']*)"),
    _pattern("node/manager-unavailable", r"(?:notarget No matching version found for|ETARGET.*) ?((?:npm|pnpm|yarn|@yarnpkg/cli-dist|@oven/bun-linux-[a-z0-9-]+)@[^\s']*?)\.?(?:\s|$)", steps=("--prefix /opt/node",)),
    _pattern("node/build-lockfile-out-of-sync", r"can only install (?:packages )?when your package\.json and|npm (?:ERR!|error) Missing: \S+ from lock file"),
    _pattern("node/build-lockfile-out-of-sync", r"Your lockfile needs to be updated|The lockfile would have been modified by this install"),
    _pattern("node/build-lockfile-out-of-sync", r"ERR_PNPM_OUTDATED_LOCKFILE|ERR_PNPM_FROZEN_LOCKFILE|lockfile had changes, but lockfile is frozen"),
    _pattern("node/no-matching-version", r"No matching version found for (\S+?)\.?(?:\s|$)"),
    _pattern("node/no-matching-version", r"Couldn't find any versions for \"(\S+?)\""),
    _pattern("node/package-not-found", r"npm (?:ERR!|error) 404\s+'?([^\s']+@[^\s']+)'? is not in"),
    _pattern("node/package-not-found", r"npm (?:ERR!|error) 404 Not Found - GET (\S+)"),
    _pattern("node/package-not-found", r"(?:ERR_PNPM_FETCH_404|error An unexpected error occurred: \"|YN0035: .*?)(\S+?): ?(?:Not [fF]ound|Package not found)"),
    _pattern("node/package-not-found", r"error: (?:GET )?(\S+) (?:failed to resolve|- 404)"),
    _pattern("node/peer-conflict", r"npm (?:ERR!|error) (?:code )?ERESOLVE"),
    _pattern("node/bad-platform", r"(?:EBADPLATFORM|Unsupported platform for) ?(?:Unsupported platform for )?(\S+?)?:"),
    _pattern("node/wrong-engine", r"The engine \"node\" is incompatible with this module|ERR_PNPM_UNSUPPORTED_ENGINE|EBADENGINE.*required"),
    _pattern("node/openssl", r"error:0308010C|digital envelope routines::unsupported"),
    _pattern("node/module-missing", r"Cannot find module '([^']+)'"),
    _pattern("node/module-missing", r"Cannot find package '([^']+)'"),
    _pattern("node/module-missing", r"Could not resolve \"([^\"]+)\""),
    _pattern("build/private-repository", r"(?:could not read Username for|Permission denied \(publickey\)|Repository not found|Host key verification failed)"),
    _pattern("build/git-missing", r"(?:ERROR: Cannot find command 'git'|spawn git ENOENT)"),
    _pattern("python/hash-mismatch", r"THESE PACKAGES DO NOT MATCH THE HASHES"),
    _pattern("python/invalid-requirement", r"Invalid requirement: (.+)"),
    _pattern("python/build-lockfile-out-of-sync", r"pyproject\.toml changed significantly since poetry\.lock|The lock ?file at .uv\.lock. needs to be updated|Your Pipfile\.lock|\(\S+\) is out of date|Lock file hash doesn't match|Lockfile doesn't satisfy the project requirements"),
    _pattern("python/pipenv-version", r"Your Pipfile requires .?.?\"?python_(?:full_)?version"),
    _pattern("python/dependency-conflict", r"ResolutionImpossible|Cannot install .+ because these package versions have conflicting|No solution found when resolving dependencies|SolverProblemError"),
    _pattern("python/broken-metadata", r"has invalid metadata|metadata-generation-failed.*invalid metadata|Requested (\S+) from \S+ has invalid metadata"),
    _pattern("python/missing-library", r"(?:A GDAL API version must be specified|(gdal-config)\b.*(?:No such file|not found))", "Add libgdal-dev to packages.build and gdal-bin to packages.run in cygni.toml."),
    _pattern("build/network", _NETWORK),
    _pattern("python/package-not-found", r"No matching distribution found for (\S+)"),
    _pattern("python/package-not-found", r"Could not find a version that satisfies the requirement (\S+)"),
    _pattern("python/package-not-found", r"(?:Because|because) (\S+) was not found in the package registry"),
    _pattern("build/missing-header", r"fatal error: '?(\S+\.h(?:pp)?)'?:? (?:No such file|file not found)"),
    _pattern("build/missing-library", r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object file"),
    _pattern("build/missing-library", r"cannot find -l(\S+?):? ?(?:No such file.*)?$"),
    _pattern("python/missing-library", r"(pg_config) executable not found", "Use psycopg2-binary, or add libpq-dev to packages.build in cygni.toml."),
    _pattern("python/missing-library", r"(?:Can not find valid pkg-config name|(mysql_config) not found)", "Add default-libmysqlclient-dev to packages.build in cygni.toml."),
    _pattern("build/missing-library", r"No package '(\S+)' found"),
    _pattern("go/module-missing", r"no required module provides package (\S+?)[;:]"),
    _pattern("go/module-missing", r"cannot find package \"(\S+)\""),
    _pattern("go/vendor-out-of-sync", r"inconsistent vendoring|-mod=vendor.*(?:is explicitly required|not marked as explicit)"),
    _pattern("go/sum-missing", r"missing go\.sum entry"),
    _pattern("go/version-too-old", r"requires go >= (\S+)"),
    _pattern("ruby/gem-not-found", r"Could not find gem '([^']+)'"),
    _pattern("ruby/lockfile-out-of-sync", r"The (?:gemspecs|dependencies) in your (?:gemfile|lockfile).*changed|You are trying to install in deployment mode after changing"),
    _pattern("ruby/version", r"Your Ruby version is \S+, but your Gemfile specified (\S+)"),
    _pattern("php/lockfile-out-of-sync", r"Required package \"(\S+)\" is not present in the lock file|lock file is not up to date"),
    _pattern("php/extension", r"requires ext-(\S+)"),
    _pattern("rust/lockfile-out-of-sync", r"lock file .* needs to be updated but --locked"),
    _pattern("build/no-compiler", r"(?:error: command '?(\S+?)'? failed: No such file|unable to execute '?(\S+?)'?: No such file|(?:gyp|make).*(?:not found: make|make: not found)|linker `(\S+)` not found)"),
)  # fmt: skip

PURPOSES = (
    ("bin/pre_compile", "python/hook"),
    ("bin/post_compile", "python/hook"),
    ("manage.py collectstatic", "python/collectstatic"),
    ("run heroku-prebuild", "node/prebuild-script"),
    ("run heroku-cleanup", "node/cleanup-script"),
    ("cargo build", "rust/build-failed"),
    ("go build", "go/build-failed"),
    ("go mod download", "go/install-failed"),
    ("assets:precompile", "ruby/assets"),
    ("bundle install", "ruby/install-failed"),
    ("composer install", "php/install-failed"),
    ("mvn ", "java/build-failed"),
    ("mvnw", "java/build-failed"),
    ("gradlew", "java/build-failed"),
    ("mix ", "elixir/build-failed"),
    ("dotnet publish", "dotnet/build-failed"),
    ("deno ", "deno/build-failed"),
    ("apt-get install", "build/packages-failed"),
    ("pip --python", "python/install-failed"),
    ("/opt/tool/bin/", "python/install-failed"),
    ("npm run", "node/build-script"),
    ("yarn run", "node/build-script"),
    ("pnpm run", "node/build-script"),
    ("bun run", "node/build-script"),
    ("npm ci", "node/install-failed"),
    ("npm install", "node/install-failed"),
    ("yarn install", "node/install-failed"),
    ("pnpm install", "node/install-failed"),
    ("bun install", "node/install-failed"),
)
"""What a step was for, by words of its command, when its output names no cause."""

COLLECTSTATIC = (
    ("python/collectstatic-syntax", re.compile(r"^(?:\s*)?(SyntaxError|IndentationError|TabError): ")),
    ("python/collectstatic-settings", re.compile(r"ImproperlyConfigured|KeyError: '([A-Z_]+)'|SECRET_KEY")),
    (
        "python/collectstatic-missing-file",
        re.compile(r"MissingFileError|could not be found with <|FileNotFoundError"),
    ),
)
"""Causes of a failed collectstatic; looked for in that step alone."""
