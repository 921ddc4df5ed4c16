"""Texts of failures by id. `{…}` are facts; `user`: the pusher can mend it, `external`: something we reach, `platform`: us."""

from buildpacks.build_failures import BUILD
from buildpacks.failure_text import FailureText
from buildpacks.language_failures import LANGUAGES, NODE, PYTHON

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
    "detect/unknown-provider": FailureText(
        'There is no provider named "{provider}".',
        "{place} asks for it. Choose one of: {known}.",
    ),
    "detect/provider-mismatch": FailureText(
        'The provider "{provider}" was chosen, but its files are missing.',
        "{place} asks for it. It needs one of:\n{looked}\nAdd one, or let the provider be detected.",
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
    "settings/unknown-key": FailureText(
        'cygni.toml has a key that is not known: "{name}".',
        "It is at {place}. Known are: {known}.\nCorrect or remove it, and push again.",
    ),
    "settings/invalid-value": FailureText(
        'cygni.toml: the value of "{name}" cannot be used.',
        "{place} holds {value}. {meaning}\nIt is written like this: {example}\nCorrect it and push again.",
    ),
    "settings/context": FailureText(
        "build.context is for workspaces of JavaScript, and the repository's root has no package.json.",
        "{place} sets it. Remove it: then {root} alone is built. Or give an own Dockerfile's path in build.dockerfile, "
        "whose context is the whole repository, and push again.",
    ),
    "settings/no-root": FailureText(
        "The folder of the app is missing: {root}.",
        "{place} names it. Correct the path, or add the folder, and push again.",
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


_DOCKERFILE = {
    "dockerfile/empty": FailureText(
        "{path} has no FROM.",
        "It holds no instructions that make an image.\nAdd them and push again.",
    ),
    "dockerfile/reserved-argument": FailureText(
        "The build argument {name} cannot be set.",
        "It means something to the builder itself. Remove it from build.args in cygni.toml and push again.",
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


FAILURES: dict[str, FailureText] = {
    **_DETECTION,
    **_SETTINGS,
    **_PROCFILE,
    **PYTHON,
    **NODE,
    **LANGUAGES,
    **_DOCKERFILE,
    **BUILD,
}
