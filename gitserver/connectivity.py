"""Whether a push's objects are all there.

git checks this too, but tells its pre-receive hook of refs that have failed the check as well, and refuses them only
after the hook: by then they would have been built and released.
"""

from collections.abc import Sequence
from pathlib import Path

import structlog

from gitserver import git
from gitserver.git import GitError
from gitserver.hook import Question
from gitserver.ports import ZERO_ID, RefUpdate

CHECK_SECONDS = 600.0

log = structlog.get_logger()


async def connected(path: Path, question: Question) -> bool:
    """Walk from the new ids, in the quarantine, to what the repository's refs reach; False if an object is missing."""
    new = [update.new for update in question.updates if update.new != ZERO_ID]
    if not new:
        return True
    wanted = "".join(f"{oid}\n" for oid in new)
    command = ("rev-list", "--objects", "--stdin", "--not", "--all", "--quiet")
    try:
        await git.run(path, *command, stdin=wanted, env=_environment(path, question), timeout=CHECK_SECONDS)
    except GitError as error:
        log.info("a push lacks objects", repository=path.name, error=str(error))
        return False
    return True


async def not_commits(path: Path, question: Question) -> tuple[RefUpdate, str] | None:
    """Return the first branch that would point at something else than a commit, and what that is.

    git refuses such a ref only when it writes it, which is after the hook.

    Raises:
        GitError: git cannot read the objects.
    """
    branches = [u for u in question.updates if u.ref.startswith("refs/heads/") and u.new != ZERO_ID]
    if not branches:
        return None
    wanted = "".join(f"{update.new}\n" for update in branches)
    command = ("cat-file", "--batch-check=%(objecttype)")
    kinds = await git.run(path, *command, stdin=wanted, env=_environment(path, question))
    pairs = zip(branches, kinds.splitlines(), strict=True)
    return next(((update, kind) for update, kind in pairs if kind != "commit"), None)


def no_commit(update: RefUpdate, kind: str) -> str:
    """Return the sentence for a branch that would point at a tag, a tree or a blob."""
    branch = update.ref.removeprefix("refs/heads/")
    text = f"{branch} is a branch and can only point at a commit; {update.new[:7]} is a {kind}."
    if kind != "tag":
        return text
    return f"{text} Push the commit that the tag names:\n  git push REMOTE {update.new[:7]}^{{}}:{branch}"


def _environment(path: Path, question: Question) -> dict[str, str]:
    env: dict[str, str] = {}
    if question.quarantine is not None:
        env["GIT_OBJECT_DIRECTORY"] = str(question.quarantine)
        env["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(path / "objects")
        env["GIT_QUARANTINE_PATH"] = str(question.quarantine)
    if question.shallow_file is not None:
        env["GIT_SHALLOW_FILE"] = str(question.shallow_file)
    return env


def missing(updates: Sequence[RefUpdate]) -> str:
    """Return the sentence for a push whose objects are not all there."""
    refs = ", ".join(update.ref for update in updates[:5])
    return (
        f"Objects of {refs} are missing, so nothing was changed.\n"
        "Push again; if it stays so, run `git fsck` in your repository."
    )
