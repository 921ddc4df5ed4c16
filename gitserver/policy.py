"""Which refs any push may touch, whatever its owner thinks of them: names, number, conflicts, stale ids."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gitserver import git
from gitserver.header import PushHeader
from gitserver.ports import ZERO_ID, Limits, RefUpdate, Refused

_NAME = re.compile(r"refs/(?:heads|tags)/[A-Za-z0-9][\w.+@/-]{0,200}", re.ASCII)
# git-check-ref-format's rules that the pattern above leaves open.
_FUNNY = re.compile(r"\.\.|//|/\.|@\{|\.lock(?:/|$)|[./]$")


@dataclass(frozen=True)
class Refs:
    """A repository's branches and tags, and the ref that HEAD names."""

    ids: dict[str, str]
    head: str | None


async def current(path: Path) -> Refs:
    """Read a repository's branches and tags.

    Raises:
        GitError: git cannot read them.
    """
    out = await git.run(
        path, "for-each-ref", "--format=%(HEAD)%(objectname) %(refname)", "refs/heads", "refs/tags"
    )
    ids: dict[str, str] = {}
    head = None
    for line in out.splitlines():
        oid, _, ref = line[1:].partition(" ")
        ids[ref] = oid
        head = ref if line.startswith("*") else head
    return Refs(ids, head)


def judge(header: PushHeader, updates: Sequence[RefUpdate], refs: Refs, limits: Limits) -> None:
    """Judge a push by the rules that hold for every repository.

    Args:
        header: what was read before the pack.
        updates: those of its commands that git itself has let through so far.
        refs: the refs as they are now.
        limits: how many refs a push and a repository may have.

    Raises:
        Refused: with the reasons, one a line.
    """
    if header.violations:
        raise Refused("\n".join(_sentence(text) for text in header.violations))
    if not set(updates) <= set(header.updates):
        raise Refused("What git sent is not its protocol.")
    for update in header.updates:
        _judge_update(update, refs)
    _judge_names([update.ref for update in header.updates if update.old == ZERO_ID], refs, limits)
    if "atomic" in header.capabilities and len(updates) < len(header.updates):
        raise Refused("git has refused another ref of this atomic push.")


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _judge_update(update: RefUpdate, refs: Refs) -> None:
    ref, current = update.ref, refs.ids.get(update.ref, ZERO_ID)
    if update.new != ZERO_ID:
        _judge_name(ref)
    if update.old == update.new:
        raise Refused(f"{_short(ref)}: there is nothing to do.")
    if update.old != current:
        raise Refused(
            f"Your push is based on {_id(update.old)}, but {_short(ref)} is now {_id(current)}.\n"
            "Run `git pull --rebase`, or `git push --force` to replace it."
        )
    if update.new == ZERO_ID and ref == refs.head:
        raise Refused(f"{_short(ref)} is this repository's main branch; it cannot be deleted.")


def _judge_name(ref: str) -> None:
    if not ref.startswith(("refs/heads/", "refs/tags/")):
        raise Refused(f"Only branches and tags can be pushed, not {_quote(ref)}.")
    if not _NAME.fullmatch(ref) or _FUNNY.search(ref):
        raise Refused(
            f"{_quote(_short(ref))} is a name that is not accepted: use letters, digits, and . _ - + @ / between them."
        )
    if _short(ref).upper() in {"HEAD", "FETCH_HEAD", "ORIG_HEAD"}:
        raise Refused(f"{_short(ref)} cannot be a branch. Name one: git push REMOTE HEAD:main")


def _judge_names(created: Sequence[str], refs: Refs, limits: Limits) -> None:
    if created and len(refs.ids) + len(created) > limits.refs:
        raise Refused(f"A repository may have {limits.refs} branches and tags. Delete some first.")
    existing = {ref.lower(): ref for ref in refs.ids}
    parents = {parent.lower(): ref for ref in refs.ids for parent in _parents(ref)}
    for ref in created:
        lower = ref.lower()
        other = existing.get(lower) or parents.get(lower)
        other = other or next((existing[p.lower()] for p in _parents(ref) if p.lower() in existing), None)
        if other is not None and other != ref:
            raise Refused(f"{_short(ref)} conflicts with {_short(other)}, which is here already.")
        existing[lower] = ref
        parents.update((parent.lower(), ref) for parent in _parents(ref))


def _parents(ref: str) -> Iterable[str]:
    parts = ref.split("/")
    return ("/".join(parts[:count]) for count in range(3, len(parts)))


def _short(ref: str) -> str:
    return ref.removeprefix("refs/heads/").removeprefix("refs/")


def _id(oid: str) -> str:
    return "nothing" if oid == ZERO_ID else oid[:7]


def _quote(ref: str) -> str:
    return repr(ref[:200])
