"""Texts of notes by id: the level, and the text with `{…}` for facts."""

from typing import Final, Literal

NOTES: Final[dict[str, tuple[Literal["info", "warning"], str]]] = {
    "detect/also-matched": (
        "info",
        "Also matched: {provider} ({place}); ignored. Choose it with build.provider in cygni.toml.",
    ),
    "procfile/corrected": (
        "warning",
        "{path} line {line}: the process type {given} has been read as {type}.",
    ),
    "procfile/duplicate": ("warning", "{path} line {line}: {type} is defined again; the last one counts."),
    "procfile/empty": ("warning", "{path} is empty: it defines no process types."),
    "procfile/no-web": ("info", "{path} has no web process, so the app will not receive requests."),
    "process/loopback": (
        "warning",
        "{place}: {type} seems to listen on {address}, where no request can reach it. Listen on 0.0.0.0.",
    ),
    "process/literal-port": (
        "warning",
        "{place}: {type} names the port {port}. It should listen on $PORT, which is given to it.",
    ),
    "python/default-version": ("info", "No Python version is asked for; Python {version} is used."),
    "python/patch": (
        "info",
        "{place} asks for Python {requested}; the stack has {available}, of the same line.",
    ),
    "python/runtime-txt": ("warning", "runtime.txt is read, but .python-version is the file for it now."),
    "python/version-files": (
        "warning",
        ".python-version and runtime.txt are both there; .python-version counts.",
    ),
    "python/inferred-script": (
        "info",
        "No Procfile: the app is started with `{command}`. It must listen on 0.0.0.0:$PORT.",
    ),
    "python/whole-tree": (
        "info",
        "{path} refers to local files ({place}), so every change of the source installs the dependencies again.",
    ),
    "python/collectstatic-off": ("info", "DISABLE_COLLECTSTATIC is set: static files are not collected."),
    "python/migrations": (
        "info",
        "Database migrations do not run by themselves: add `release: python manage.py migrate` to the Procfile.",
    ),
    "python/unpinned": (
        "info",
        "{names} in requirements.txt: no exact version is given, so what is installed can change.",
    ),
    "node/default-version": (
        "info",
        "No Node.js version is asked for; Node.js {version} is used. Set engines.node in package.json.",
    ),
    "node/wide-range": (
        "warning",
        "{place} allows several major versions of Node.js ({requested}); {version} is used.",
    ),
    "node/no-lockfile": (
        "warning",
        "There is no {lock}, so what is installed can change. Run `{manager} install` and commit it.",
    ),
    "node/whole-tree": (
        "info",
        "package.json has {what}, so every change of the source installs the dependencies again.",
    ),
    "node/static-output": (
        "info",
        "The build writes files that need no Node.js to serve: the folder {folder} is served.",
    ),
    "assets/step": (
        "info",
        "package.json has a build script: its assets are built with `{manager} run {script}`. Off: build.assets = false.",
    ),
    "python/no-lock": (
        "warning",
        "There is no {lock}, so what is installed can change. Run `{command}` and commit it.",
    ),
    "node/checked-in-modules": (
        "warning",
        "node_modules is part of the source; it is ignored. Run `git rm -r --cached node_modules`.",
    ),
    "node/direct-start": (
        "info",
        "scripts.start is started as `{command}`, without npm, so that signals reach it.",
    ),
    "settings/unused-command": (
        "warning",
        "build.command is set, but a {provider} app is built in its own way: the command is not used.",
    ),
    "aptfile/ignored": ("warning", "Aptfile line {line} is no package's name and is ignored: {text}"),
    "version/default": ("info", "No version is asked for; {language} {version} is used."),
    "go/default-version": ("info", "go.mod does not specify a Go version; Go {version} is used."),
    "go/newer-line": (
        "info",
        "{place} asks for Go {requested}; it is built with Go {version}, which can do so.",
    ),
    "go/programs": ("info", "Several programs are built: {names}."),
    "ruby/no-lock": (
        "warning",
        "There is no {lock}, so what is installed can change. Run `bundle lock` and commit it.",
    ),
    "ruby/secret-key": ("info", "Rails needs SECRET_KEY_BASE in the app's config (or config/credentials)."),
    "php/no-lock": (
        "warning",
        "There is no composer.lock, so what is installed can change. Run `composer update` and commit it.",
    ),
    "rust/no-lock": (
        "warning",
        "There is no Cargo.lock, so what is built can change. Run `cargo generate-lockfile` and commit it.",
    ),
    "elixir/phoenix": ("info", "Phoenix needs SECRET_KEY_BASE and PHX_HOST in the app's config."),
    "static/root": ("info", "The folder {root} is served."),
    "dockerfile/syntax-dropped": (
        "warning",
        "{path} line {line}: `{text}` is ignored; the build engine's own Dockerfile syntax is used.",
    ),
    "dockerfile/config-arg": (
        "warning",
        "{path} line {line}: ARG {name} is not set from the app's config; read it from the secret `app-env` in a RUN.",
    ),
    "dockerfile/no-port": ("info", "{path} exposes no TCP port; the app must listen on $PORT."),
}
