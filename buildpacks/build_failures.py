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
        "Add the package that brings it to the app's dependencies (or to packages.build), and push again.{package}",
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
        "{advice} Or use a version with prebuilt wheels or binaries. Then push again.",
    ),
    "build/missing-library": FailureText(
        "A library of the system is missing: {name}.",
        "The output says: {line}\nIt is part of a Debian package{package}.\n{advice} Then push again.",
    ),
    "build/no-compiler": FailureText(
        "A dependency needs a compiler that is not installed: {name}.",
        "It is compiled during the build.\n"
        "{advice} Or use a version with prebuilt wheels or binaries. Then push again.",
    ),
    "build/package-unknown": FailureText(
        "There is no Debian package of this name: {name}.",
        "apt says: {line}\nCheck the name for the suite that explain shows, correct it in cygni.toml or the Aptfile, and push again.",
    ),
    "build/packages-failed": FailureText(
        "Debian packages could not be installed.",
        "apt ended with exit code {code}: {line}\nCheck packages.build and packages.run, and push again.",
    ),
    "build/private-repository": FailureText(
        "A dependency comes from a git repository that the build may not read.",
        "git says: {line}\nBuilds have no keys of yours. Publish the package, or use an address with a token "
        "from the app's config, and push again.",
    ),
    "build/git-missing": FailureText(
        "A dependency comes from git, and git is not installed.",
        "The output says: {line}\nAdd git to packages.build in cygni.toml, and push again.",
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
    "python/build-lockfile-out-of-sync": FailureText(
        "The lock file does not fit the project's dependencies any more.",
        "The package manager says: {line}\nLock again (`poetry lock`, `uv lock`, `pipenv lock`, `pdm lock`), commit, and push again.",
    ),
    "python/pipenv-version": FailureText(
        "Pipfile asks for another Python version than the one that was picked.",
        "Pipenv says: {line}\nMake [requires] of Pipfile and .python-version agree, and push again.",
    ),
    "python/broken-metadata": FailureText(
        "One of the dependencies contains broken metadata.",
        "pip says: {line}\nUse a newer version of that package, and push again.",
        "external",
    ),
    "python/collectstatic-syntax": FailureText(
        "Django's static files could not be collected: a file has a syntax error.",
        "`manage.py collectstatic` ended with exit code {code}: {line}\nMend the file, and push again.",
    ),
    "python/collectstatic-settings": FailureText(
        "Django's static files could not be collected: the settings need something that is missing.",
        "`manage.py collectstatic` ended with exit code {code}: {line}\n"
        "It runs with the app's config. Set what is missing there, or set DISABLE_COLLECTSTATIC=1, and push again.",
    ),
    "python/collectstatic-missing-file": FailureText(
        "Django's static files could not be collected: a file that is referred to is missing.",
        "`manage.py collectstatic` ended with exit code {code}: {line}\nAdd the file or the reference's target, and push again.",
    ),
    "python/collectstatic": FailureText(
        "Django's static files could not be collected.",
        "`manage.py collectstatic` ended with exit code {code}: {line}\n"
        "It runs with the app's config. Mend the settings, or set DISABLE_COLLECTSTATIC=1 in the config, and push again.",
    ),
    "python/hook": FailureText(
        "A script of the build failed: {name}.",
        "It ended with exit code {code}: {line}\nMend what it reports, and push again.",
    ),
    "python/install-failed": FailureText(
        "The Python dependencies could not be installed.",
        "pip ended with exit code {code}: {line}\nThe build's output has the details. Correct requirements.txt and push again.",
    ),
    "node/build-lockfile-out-of-sync": FailureText(
        "package.json and the lockfile do not agree.",
        "It says: {line}\nInstall on your machine (`npm install`, `yarn`, `pnpm install`, `bun install`), commit the lockfile, and push again.",
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
    "node/manager-unavailable": FailureText(
        "This version of the package manager could not be installed: {name}.",
        "npm says: {line}\nName a version that was published in packageManager or engines of package.json, and push again.",
    ),
    "node/bad-platform": FailureText(
        "A dependency is not for this platform: {name}.",
        "The package manager says: {line}\nMove it to optionalDependencies or remove it, and push again.",
    ),
    "node/wrong-engine": FailureText(
        "A dependency does not run on the Node.js that was picked.",
        "The package manager says: {line}\nAsk for a version that fits in engines.node, and push again.",
    ),
    "node/openssl": FailureText(
        "The build uses a cryptographic algorithm that this Node.js does not support.",
        "{line}\nUpdate the build tool (webpack 4 does so), or ask for Node.js 16 in engines.node, and push again.",
    ),
    "node/module-missing": FailureText(
        "A module that the build needs is missing: {name}.",
        "{line}\nAdd it to the dependencies, check the path's upper and lower case, and push again.",
    ),
    "node/prebuild-script": FailureText(
        "The script heroku-prebuild of package.json failed.",
        "It ended with exit code {code}: {line}\nMend what it reports, and push again.",
    ),
    "node/cleanup-script": FailureText(
        "The script heroku-cleanup of package.json failed.",
        "It ended with exit code {code}: {line}\nMend what it reports, and push again.",
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
    "go/module-missing": FailureText(
        "A Go package is imported that no module provides: {name}.",
        "go says: {line}\nRun `go mod tidy`, commit go.mod and go.sum, and push again.",
    ),
    "go/sum-missing": FailureText(
        "go.sum lacks a module that go.mod requires.",
        "go says: {line}\nRun `go mod tidy`, commit go.sum, and push again.",
    ),
    "go/vendor-out-of-sync": FailureText(
        "The folder vendor does not fit go.mod any more.",
        "go says: {line}\nRun `go mod vendor`, commit vendor, and push again.",
    ),
    "go/version-too-old": FailureText(
        "A Go module needs a newer Go: {name}.",
        "go says: {line}\nRaise the go line of go.mod (`go get go@latest`), and push again.",
    ),
    "go/install-failed": FailureText(
        "The Go modules could not be downloaded.",
        "go ended with exit code {code}: {line}\nRun `go mod download` on your machine, mend what it reports, and push again.",
    ),
    "go/build-failed": FailureText(
        "The Go program could not be built.",
        "go ended with exit code {code}: {line}\nRun `go build ./...` on your machine, mend what it reports, and push again.",
    ),
    "ruby/gem-not-found": FailureText(
        "A gem could not be found: {name}.",
        "Bundler says: {line}\nCheck its name and version in the Gemfile (with gems from Debian: the package in packages.run), and push again.",
    ),
    "ruby/lockfile-out-of-sync": FailureText(
        "Gemfile and Gemfile.lock do not agree.",
        "Bundler says: {line}\nRun `bundle lock`, commit Gemfile.lock, and push again.",
    ),
    "ruby/version": FailureText(
        "The Gemfile asks for another Ruby: {name}.",
        'Bundler says: {line}\nAsk for the line that the stack has (`ruby "~> 3.3"`), and push again.',
    ),
    "ruby/assets": FailureText(
        "The assets could not be precompiled.",
        "The task ended with exit code {code}: {line}\nRun `RAILS_ENV=production rails assets:precompile` on your machine, mend what it reports, and push again.",
    ),
    "ruby/install-failed": FailureText(
        "The gems could not be installed.",
        "Bundler ended with exit code {code}: {line}\nMend it and push again.",
    ),
    "php/lockfile-out-of-sync": FailureText(
        "composer.json and composer.lock do not agree.",
        "Composer says: {line}\nRun `composer update --lock`, commit composer.lock, and push again.",
    ),
    "php/extension": FailureText(
        "A PHP extension is missing: {name}.",
        'Composer says: {line}\nRequire it in composer.json (`"ext-{name}": "*"`), and push again.',
    ),
    "php/install-failed": FailureText(
        "The PHP dependencies could not be installed.",
        "Composer ended with exit code {code}: {line}\nMend it and push again.",
    ),
    "java/build-failed": FailureText(
        "The Java app could not be built.",
        "The build ended with exit code {code}: {line}\nRun it on your machine, mend what it reports, and push again.",
    ),
    "rust/lockfile-out-of-sync": FailureText(
        "Cargo.toml and Cargo.lock do not agree.",
        "cargo says: {line}\nRun `cargo update --workspace`, commit Cargo.lock, and push again.",
    ),
    "rust/build-failed": FailureText(
        "The Rust program could not be built.",
        "cargo ended with exit code {code}: {line}\nRun `cargo build --release` on your machine, mend what it reports, and push again.",
    ),
    "elixir/build-failed": FailureText(
        "The Elixir release could not be made.",
        "mix ended with exit code {code}: {line}\nRun `MIX_ENV=prod mix release` on your machine, mend what it reports, and push again.",
    ),
    "dotnet/build-failed": FailureText(
        "The .NET app could not be published.",
        "dotnet ended with exit code {code}: {line}\nRun `dotnet publish` on your machine, mend what it reports, and push again.",
    ),
    "deno/build-failed": FailureText(
        "The Deno app could not be built.",
        "deno ended with exit code {code}: {line}\nRun it on your machine, mend what it reports, and push again.",
    ),
}
