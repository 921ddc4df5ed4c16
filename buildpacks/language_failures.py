"""Texts of the failures of languages, before a build; see `failure_texts`."""

from buildpacks.failure_text import FailureText

PYTHON = {
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


NODE = {
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
    "node/no-member": FailureText(
        "{folder} has no package.json.",
        "{place} says that the app is this member of the workspace.\nCorrect build.root and push again.",
    ),
    "node/no-start": FailureText(
        "It is not known how to start this Node.js app.",
        "There is no Procfile, and nothing that a start command follows from was found.\n"
        "Looked for: scripts.start and main in package.json, server.js, index.js.\n"
        "Add a start script to package.json, such as\n"
        '  "scripts": {{"start": "node app.js"}}\nor a Procfile with a `web:` line, and push again.',
    ),
}


LANGUAGES = {
    "version/unavailable": FailureText(
        "{language} {requested} is not available here; the stacks have {language} {available}.",
        "{place} asks for it. The runtime comes with a stack, which is a Debian suite.\n"
        "Ask for one of these, or add a Dockerfile, and push again.",
    ),
    "version/invalid": FailureText(
        'The version "{text}" cannot be understood.',
        "{place} must hold a version, such as 3.3 or 3.3.8.\nCorrect it and push again.",
    ),
    "go/version-unavailable": FailureText(
        "Go {requested} is not available here.",
        "{place} asks for it; the newest that can be installed is {newest}.\nAsk for an older one and push again.",
    ),
    "go/no-main": FailureText(
        "No Go program was found.",
        "Looked for `package main` in the root, in cmd/*/ and in every main.go.\n"
        "Add one, or name its package in go.mod (`// +heroku install ./path`), and push again.",
    ),
    "go/several-mains": FailureText(
        "Several Go programs were found, and none says that it is the web process.",
        "These are built:\n{programs}\nAdd a Procfile that names one, such as\n  web: bin/{first}\nand push again.",
    ),
    "go/bin-file": FailureText(
        "The file bin is in the way: programs are put into a folder of this name.",
        "Rename the file bin and push again.",
    ),
    "ruby/no-start": FailureText(
        "It is not known how to start this Ruby app.",
        "There is no Procfile, and neither a Rails app, config.ru, app.rb, main.rb nor server.rb was found.\n"
        "Add a Procfile with a line such as\n  web: bundle exec puma -p $PORT\nand push again.",
    ),
    "java/no-wrapper": FailureText(
        "This Gradle build has no wrapper.",
        "Gradle's version decides whether a build works, and gradlew is what names it.\n"
        "Run `gradle wrapper`, commit gradlew and gradle/wrapper, and push again.",
    ),
    "rust/no-program": FailureText(
        "Cargo.toml has no program to run.",
        "Looked for src/main.rs, src/bin/*.rs and [[bin]], in the package and in the workspace's members.\n"
        "Add one and push again.",
    ),
    "rust/several-programs": FailureText(
        "Several Rust programs were found, and none says that it is the web process.",
        "These are built:\n{programs}\nAdd a Procfile that names one, such as\n  web: bin/{first}\nand push again.",
    ),
    "elixir/no-app": FailureText(
        "mix.exs names no app.",
        "The release is called as `app:` in `project` says.\nAdd it and push again.",
    ),
    "dotnet/no-project": FailureText(
        "No .NET project was found.",
        "Looked for *.csproj, *.fsproj and *.vbproj, tests aside.\nAdd one, commit, and push again.",
    ),
    "dotnet/several-projects": FailureText(
        "Several .NET projects could be the app.",
        "They are:\n{projects}\nSet build.root in cygni.toml to the folder of one, and push again.",
    ),
    "deno/no-start": FailureText(
        "It is not known how to start this Deno app.",
        "There is no Procfile, no task `start`, and neither main.ts, server.ts nor index.ts was found.\n"
        "Add a task or a Procfile with a `web:` line, and push again.",
    ),
}
