"""Texts of failures by id. `{…}` are facts; `user`: the pusher can mend it, `external`: something we reach, `platform`: us."""

from dataclasses import dataclass

from buildpacks.plan import FailureClass


@dataclass(frozen=True)
class FailureText:
    """Title and body of a failure. `retry`: the same push may work later."""

    title: str
    body: str
    cls: FailureClass = "user"
    retry: bool = False


_DETECTION = {
    "detect/empty": FailureText(
        "There is nothing to build: the tree is empty.",
        "The commit that was pushed holds no files.\nAdd your app's files, commit, and push again.",
    ),
    "detect/nothing": FailureText(
        "No way to build this app was found.",
        "Looked in the root for:\n{looked}\nFound there:\n{seen}\n"
        "Add one of these files to the root, commit, and push again.{hint}",
    ),
    "detect/unsupported": FailureText(
        "This looks like a {language} app, which cannot be built without a Dockerfile yet.",
        "{path} says so. Add a Dockerfile to the root that builds and starts the app, commit, and push again.",
    ),
    "detect/unknown-provider": FailureText(
        'There is no provider named "{provider}".',
        "The app's settings ask for it. Choose one of: {known}.",
    ),
    "detect/provider-mismatch": FailureText(
        'The provider "{provider}" was chosen, but its files are missing.',
        "The app's settings ask for it. It needs one of:\n{looked}\nAdd one, or let the provider be detected.",
    ),
    "tree/limit": FailureText(
        "The source is over a limit.",
        "It holds {detail}.\nRemove what the app does not need (`git rm -r --cached …`) and push again.",
    ),
    "tree/unreadable": FailureText(
        "The source cannot be read.",
        "{detail}.\nRun `git fsck` in your clone; if it finds nothing, push again.",
    ),
    "tree/not-utf8": FailureText(
        "{path} is not UTF-8 text.",
        "It has to be read before the build and holds bytes that are no UTF-8, first at byte {position}.\n"
        "Save it as UTF-8 without a byte order mark and push again.",
    ),
    "tree/reserved-path": FailureText(
        "{path} cannot be part of an app.",
        "Builds use this name for files of their own. Rename it and push again.",
    ),
}

_SETTINGS = {
    "detect/manager-mismatch": FailureText(
        'The package manager "{manager}" was chosen, but {path} is missing.',
        "{place} asks for it.\nAdd {path}, or choose another package manager, and push again.",
    ),
    "document/invalid": FailureText(
        "{path} cannot be parsed.",
        "{detail}.\nCorrect the file and push again.",
    ),
}

_PROCFILE = {
    "procfile/bad-line": FailureText(
        "Procfile line {line} is not `type: command`.",
        "It reads: {text}\nEach line names a process type (letters, digits and dashes), a colon, and a command, such as\n"
        "  web: gunicorn app:app\nCorrect line {line} of {path} and push again.",
    ),
    "procfile/too-many": FailureText(
        "The Procfile names more than {limit} process types.",
        "Each type runs as containers of its own. Remove types that are not needed and push again.",
    ),
}

_PYTHON = {
    "python/multiple-package-managers": FailureText(
        "More than one Python package manager's file was found.",
        "These decide what is installed, and they may disagree:\n{files}\n"
        "Keep the one you use, remove the others (`git rm …`), and push again.",
    ),
    "python/no-requirements": FailureText(
        "No file says what this Python project depends on.",
        "{path} says that this is a Python project, but there is no requirements.txt, pyproject.toml with [project],\n"
        "Pipfile, or lock of Poetry, uv or PDM.\nAdd one (requirements.txt may be empty), commit, and push again.",
    ),
    "python/misspelled-requirements": FailureText(
        "The file of dependencies is misspelled: {path}.",
        "It has to be called requirements.txt.\nRun `git mv {path} requirements.txt`, commit, and push again.",
    ),
    "python/misspelled-version-file": FailureText(
        "The Python version's file is misspelled: {path}.",
        "It has to be called .python-version.\nRename it, commit, and push again.",
    ),
    "python/invalid-version": FailureText(
        "{path} does not hold a Python version.",
        'Line {line} reads "{text}". One line such as 3.11 or 3.11.2 is expected.\nCorrect it and push again.',
    ),
    "python/no-version": FailureText(
        "No Python version was found in {path}.",
        "The file holds only comments or blank lines.\nWrite one line such as 3.11, or remove the file, and push again.",
    ),
    "python/multiple-versions": FailureText(
        "Several Python versions were found in {path}.",
        "They are on lines {lines}; one is expected.\nKeep the one the app runs on and push again.",
    ),
    "python/version-unavailable": FailureText(
        "Python {requested} is not available here; the stacks have Python {available}.",
        "{place} asks for {requested}. Every stack is a Debian suite and brings one Python; the nearest is {line}.\n"
        "Ask for {line} (or for nothing), or add a Dockerfile, and push again.",
    ),
    "python/version-eol": FailureText(
        "Python {requested} has reached its end of life.",
        "{place} asks for it; it gets no security fixes any more, and the stacks have Python {available}.\n"
        "Move the app to {line}, or add a Dockerfile, and push again.",
    ),
    "python/version-unknown": FailureText(
        "Python {requested} is not a version that is known.",
        "{place} asks for it; the stacks have Python {available}.\nAsk for one of these and push again.",
    ),
    "python/version-conflict": FailureText(
        "{place} and {other} ask for different Python versions.",
        'The project allows "{allowed}", and {place} picks {requested}, which is outside.\n'
        "Make them agree and push again.",
    ),
    "python/runtime-txt-with-uv": FailureText(
        "runtime.txt is not read in a project of uv.",
        "uv itself reads .python-version, so the two could disagree.\n"
        "Write the version to .python-version (`echo 3.13 > .python-version`), remove runtime.txt, and push again.",
    ),
    "python/requires-python": FailureText(
        'requires-python "{requested}" allows none of the Python versions here: {available}.',
        "{place} decides what is allowed, and every stack (a Debian suite) brings one Python.\n"
        "Widen requires-python if the app runs on it, or add a Dockerfile, and push again.",
    ),
    "python/invalid-requires-python": FailureText(
        'requires-python "{requested}" is not a version specifier.',
        '{place} must read like ">=3.9" or ">=3.9,<4".\nCorrect it and push again.',
    ),
    "python/invalid-pyproject": FailureText(
        "pyproject.toml cannot be parsed.",
        "{detail}.\nCorrect the file and push again.",
    ),
    "python/invalid-pipfile": FailureText(
        "Pipfile cannot be parsed.",
        "{detail}.\nCorrect the file and push again.",
    ),
    "python/invalid-lockfile": FailureText(
        "{path} cannot be parsed.",
        "{detail}.\nWrite it anew with its package manager, commit it, and push again.",
    ),
    "python/existing-python": FailureText(
        "A copy of Python is part of the source: .heroku/python.",
        "It was made for another machine and cannot be used here.\n"
        "Run `git rm -r --cached .heroku`, add .heroku/ to .gitignore, commit, and push again.",
    ),
    "python/no-start": FailureText(
        "It is not known how to start this Python app.",
        "There is no Procfile, and nothing that a start command follows from was found.\n"
        "Looked for: a Django project, a Flask or FastAPI app, and one of these files in the root:\n{looked}\n"
        "Add a Procfile with a line such as\n  web: gunicorn app:app\nand push again.",
    ),
    "python/no-server": FailureText(
        "{framework} needs a server that is not among the dependencies.",
        "{place} lists {framework}, but there is no Procfile and no {server} to start it with.\n"
        "Add {server} to the dependencies, or a Procfile with a `web:` line, and push again.",
    ),
    "python/existing-venv": FailureText(
        "A virtual environment is part of the source: {path}.",
        "It was made for another machine and cannot be used here.\n"
        "Run `git rm -r --cached {path}`, add {path}/ to .gitignore, commit, and push again.",
    ),
}

_NODE = {
    "node/invalid-package-json": FailureText(
        "package.json cannot be parsed.",
        "{detail}.\nCorrect the file and push again.",
    ),
    "node/multiple-lockfiles": FailureText(
        "More than one lockfile was found.",
        "These belong to different package managers, and they may disagree:\n{files}\n"
        "Keep the one you use, remove the others (`git rm …`), and push again.",
    ),
    "node/multiple-package-managers": FailureText(
        "package.json names more than one package manager.",
        "These decide what is installed, and they may disagree:\n{files}\n"
        'Keep one, or set "packageManager" in package.json, and push again.',
    ),
    "node/unknown-package-manager": FailureText(
        'The package manager "{manager}" is not known.',
        "{place} asks for it; known are {known}.\nName one of these and push again.",
    ),
    "node/invalid-lockfile": FailureText(
        "{path} cannot be parsed.",
        "{detail}.\nRun `npm install`, commit {path}, and push again.",
    ),
    "node/lockfile-out-of-sync": FailureText(
        "package.json and {path} do not agree.",
        "package.json asks for {names}, and {path} does not.\nRun `npm install`, commit {path}, and push again.",
    ),
    "node/invalid-version": FailureText(
        'The Node.js version "{requested}" cannot be understood.',
        "{place} must hold a version or a range, such as 22, 22.x or >=20.\nCorrect it and push again.",
    ),
    "node/version-unavailable": FailureText(
        "No Node.js version here is in the range {requested}.",
        "{place} asks for it; major versions {oldest} to {newest} can be installed.\nWiden the range and push again.",
    ),
    "node/version-conflict": FailureText(
        "{place} and {other} ask for different Node.js versions.",
        "engines.node allows {requested}, and {place} picks {picked}, which is outside.\n"
        "Make them agree and push again.",
    ),
    "node/no-start": FailureText(
        "It is not known how to start this Node.js app.",
        "There is no Procfile, and nothing that a start command follows from was found.\n"
        "Looked for: scripts.start and main in package.json, server.js, index.js.\n"
        "Add a start script to package.json, such as\n"
        '  "scripts": {{"start": "node app.js"}}\nor a Procfile with a `web:` line, and push again.',
    ),
}

_DOCKERFILE = {
    "dockerfile/empty": FailureText(
        "{path} has no FROM.",
        "It holds no instructions that make an image.\nAdd them and push again.",
    ),
    "dockerfile/syntax": FailureText(
        "{path} line {line} cannot be accepted: {detail}.",
        "It reads: {text}\nCorrect line {line} and push again.",
    ),
    "dockerfile/unsupported": FailureText(
        "{path} line {line} uses {feature}, which the build engine does not have.",
        "It reads: {text}\n{advice}\nChange line {line} and push again.",
    ),
    "dockerfile/foreign-image": FailureText(
        "{path} line {line} names an image of this server: {image}.",
        "Images of apps, and images by their id, cannot be read by a build.\n"
        "Use an image of a registry, `scratch`, or one of this server's stacks, such as {example}, and push again.",
    ),
    "dockerfile/unclear": FailureText(
        "{path} line {line} cannot be checked: {detail}.",
        "It reads: {text}\nA build may not name images or caches that are not known before it starts.\n"
        "Write the name out and push again.",
    ),
}

_BUILD = {
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

FAILURES: dict[str, FailureText] = {
    **_DETECTION,
    **_SETTINGS,
    **_PROCFILE,
    **_PYTHON,
    **_NODE,
    **_DOCKERFILE,
    **_BUILD,
}
