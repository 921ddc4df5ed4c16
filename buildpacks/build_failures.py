"""Texts of the failures of builds; see `failure_texts`."""

from buildpacks.failure_text import FailureText

BUILD = {
    "build/out-of-memory": FailureText(
        "The build ran out of memory.",
        "This step was killed (exit code 137): {step}\n"
        "Use less memory in the build, or ask the server's operator to raise the limit, and push again.",
    ),
    "build/command-not-found": FailureText(
        "The build needs a command that is not installed: {name}.",
        "This step failed (exit code 127): {step}\n"
        "Add the package that brings it to the app's dependencies, or add a Dockerfile, and push again.",
    ),
    "build/network": FailureText(
        "The build could not reach a package registry.",
        "{line}\nThis usually passes. Push again; if it stays, the server's operator should check its network.",
        "external",
        retry=True,
    ),
    "build/missing-header": FailureText(
        "A dependency needs C headers that are not installed: {name}.",
        "It is compiled during the build, and {name} is part of a Debian package{package}.\n"
        "Use a version with prebuilt wheels or binaries, or add a Dockerfile that installs the package, and push again.",
    ),
    "build/no-compiler": FailureText(
        "A dependency needs a compiler that is not installed: {name}.",
        "It is compiled during the build.\n"
        "Use a version with prebuilt wheels or binaries, or add a Dockerfile that installs the compiler, and push again.",
    ),
    "build/disk-full": FailureText(
        "The build ran out of disk.",
        "{line}\nThe server's operator should make room (`docker system df` shows what holds it). Then push again.",
        "platform",
        retry=True,
    ),
    "python/package-not-found": FailureText(
        "A Python package could not be found: {name}.",
        "pip says: {line}\nCheck its name and version in requirements.txt, and that it supports this Python. Then push again.",
    ),
    "python/dependency-conflict": FailureText(
        "The Python dependencies contradict each other.",
        "pip says: {line}\nChange the versions in requirements.txt so that they agree, and push again.",
    ),
    "python/invalid-requirement": FailureText(
        "requirements.txt has a line that pip cannot read.",
        "pip says: {line}\nCorrect the line and push again.",
    ),
    "python/hash-mismatch": FailureText(
        "A Python package does not have the hash that requirements.txt gives.",
        "pip says: {line}\nWrite the hashes anew, check why they changed, and push again.",
    ),
    "python/missing-library": FailureText(
        "A Python package needs a system library that is not installed: {name}.",
        "It is compiled during the build{package}.\n{advice}\nThen push again.",
    ),
    "python/collectstatic": FailureText(
        "Django's static files could not be collected.",
        "`manage.py collectstatic` ended with exit code {code}: {line}\n"
        "It runs with the app's config. Mend the settings, or set DISABLE_COLLECTSTATIC=1 in the config, and push again.",
    ),
    "python/install-failed": FailureText(
        "The Python dependencies could not be installed.",
        "pip ended with exit code {code}: {line}\nThe build's output has the details. Correct requirements.txt and push again.",
    ),
    "node/build-lockfile-out-of-sync": FailureText(
        "package.json and the lockfile do not agree.",
        "npm says: {line}\nRun `npm install`, commit package-lock.json, and push again.",
    ),
    "node/package-not-found": FailureText(
        "An npm package could not be found: {name}.",
        "npm says: {line}\nCheck its name and version in package.json, and that it is public. Then push again.",
    ),
    "node/peer-conflict": FailureText(
        "The npm dependencies contradict each other.",
        "npm says: {line}\nChange the versions in package.json so that they agree, run `npm install`, commit, and push again.",
    ),
    "node/no-matching-version": FailureText(
        "An npm package has no such version: {name}.",
        "npm says: {line}\nChange the version in package.json, run `npm install`, commit, and push again.",
    ),
    "node/runtime-unavailable": FailureText(
        "This Node.js version could not be installed: {name}.",
        "npm says: {line}\nAsk for a version that was published in engines.node of package.json, and push again.",
    ),
    "node/heap": FailureText(
        "Node.js ran out of heap memory in the build.",
        "{line}\nSet NODE_OPTIONS=--max-old-space-size=… in the app's config to less than the build's memory, and push again.",
    ),
    "node/build-script": FailureText(
        "The build script of package.json failed.",
        "It ended with exit code {code}: {line}\nRun `npm run build` on your machine, mend what it reports, and push again.",
    ),
    "node/install-failed": FailureText(
        "The npm dependencies could not be installed.",
        "npm ended with exit code {code}: {line}\nThe build's output has the details. Mend it and push again.",
    ),
}
