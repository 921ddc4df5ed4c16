"""What git's client sees, line by line of the behaviour table in docs/git-receive.md."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

import pytest

from gitserver import repository
from gitserver.ports import ZERO_ID, Client, Limits, Push, Verdict
from gitserver.testing import accept

if TYPE_CHECKING:
    from pathlib import Path

    from tests.gitserver.conftest import Door, Launch


async def refuse(push: Push, client: Client) -> Verdict:
    await client.line(" !     Build failed")
    return Verdict(accepted=False)


async def test_a_push_shows_the_handlers_lines_and_moves_the_ref(door: Door) -> None:
    async def build(push: Push, client: Client) -> Verdict:
        await client.line("-----> Building\n       two lines")
        return Verdict(accepted=True)

    door.pushes.received_by = build
    work = await door.work()
    said = await door.good("push", "cygni", "main", cwd=work)
    assert "remote: -----> Building" in said
    assert "remote:        two lines" in said
    assert "* [new branch]      main -> main" in said
    push, moved = door.pushes.finishes[0]
    assert moved
    assert await door.refs() == {"refs/heads/main": push.updates[0].new}
    assert push.principal.name == "ann"
    assert push.updates[0].old == ZERO_ID


async def test_the_objects_are_readable_in_quarantine_before_the_ref_moves(door: Door) -> None:
    seen: list[str] = []

    async def look(push: Push, client: Client) -> Verdict:
        assert push.quarantine is not None
        env = {
            "GIT_OBJECT_DIRECTORY": str(push.quarantine),
            "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(push.repository.path / "objects"),
        }
        seen.append(
            await door.good(
                "cat-file", "-p", f"{push.updates[0].new}:file.txt", cwd=push.repository.path, **env
            )
        )
        assert await repository.list_refs(push.repository.path, "refs") == {}
        return Verdict(accepted=True)

    door.pushes.received_by = look
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    assert seen == ["first"]


async def test_lines_arrive_while_the_handler_still_works(door: Door) -> None:
    may_end = asyncio.Event()

    async def slow(push: Push, client: Client) -> Verdict:
        await client.line("-----> first")
        await may_end.wait()
        return Verdict(accepted=True)

    door.pushes.received_by = slow
    work = await door.work()
    process = await door.spawn("git", "push", "cygni", "main", cwd=work)
    assert process.stderr is not None
    assert b"-----> first" in await asyncio.wait_for(process.stderr.readline(), 20)
    assert process.returncode is None
    may_end.set()
    await process.communicate()
    assert process.returncode == 0


async def test_a_refused_push_leaves_nothing_behind_and_can_be_repeated(door: Door) -> None:
    door.pushes.received_by = refuse
    work = await door.work()
    result = await door.git("push", "cygni", "main", cwd=work)
    assert result.code == 1
    assert "remote:  !     Build failed" in result.err
    assert "! [remote rejected] main -> main (pre-receive hook declined)" in result.err
    assert await door.refs() == {}
    assert door.packs() == []
    assert door.left_behind() == []
    assert [moved for _, moved in door.pushes.finishes] == [False]
    door.pushes.received_by = accept
    await door.good("push", "cygni", "main", cwd=work)


async def test_a_check_that_refuses_runs_before_the_handler(door: Door) -> None:
    door.pushes.refuse_check = "Only main deploys.\nRun: git push cygni HEAD:main"
    work = await door.work()
    result = await door.git("push", "cygni", "main:topic", cwd=work)
    assert "remote:  !     Only main deploys." in result.err
    assert "remote:  !     Run: git push cygni HEAD:main" in result.err
    assert result.code == 1
    assert door.pushes.pushes == []
    assert door.pushes.finishes == []
    assert door.left_behind() == []


@pytest.mark.parametrize("version", ["0", "1", "2"])
@pytest.mark.parametrize("command", [("ls-remote",), ("push",), ("clone",)])
async def test_an_error_before_the_protocol_is_one_plain_sentence(
    door: Door, version: str, command: tuple[str, ...]
) -> None:
    door.pushes.refuse_open = "There is no app shop, or you may not use it."
    work = await door.work()
    target = {"ls-remote": [door.url()], "push": ["cygni", "main"], "clone": [door.url(), "copy"]}[command[0]]
    result = await door.git("-c", f"protocol.version={version}", *command, *target, cwd=work)
    assert result.code == 128
    lines = [line for line in result.err.splitlines() if not line.startswith("Cloning into")]
    assert lines == ["fatal: remote error: There is no app shop, or you may not use it."]


async def test_a_refused_slot_is_told_before_refs_are_advertised(door: Door) -> None:
    door.pushes.refuse_slot = "A newer push has replaced this one."
    work = await door.work()
    result = await door.git("push", "cygni", "main", cwd=work)
    assert result.err.strip() == "fatal: remote error: A newer push has replaced this one."


async def test_a_handler_that_fails_refuses_the_push_with_a_sentence(door: Door) -> None:
    async def fail(push: Push, client: Client) -> Verdict:
        raise RuntimeError("a secret detail")

    door.pushes.received_by = fail
    work = await door.work()
    result = await door.git("push", "cygni", "main", cwd=work)
    assert "Something went wrong on the server" in result.err
    assert "secret" not in result.err
    assert result.code == 1
    assert await door.refs() == {}


async def test_head_names_the_pushed_branch_so_that_a_clone_checks_it_out(door: Door) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main:master", cwd=work)
    said = await door.good("clone", door.url(), "copy")
    assert "nonexistent" not in said
    assert (door.root / "copy" / "file.txt").read_text() == "first"
    assert (await door.good("branch", "--show-current", cwd=door.root / "copy")).strip() == "master"


async def test_an_empty_repository_can_be_listed_and_cloned(door: Door) -> None:
    await repository.create_bare(door.bare())
    assert await door.good("ls-remote", door.url()) == ""
    assert "empty repository" in await door.good("clone", door.url(), "copy")


async def test_tags_and_deletes_and_force_and_mirror(door: Door) -> None:
    work = await door.work()
    await door.good("tag", "-a", "v1", "-m", "one", cwd=work)
    await door.good("push", "cygni", "main", "v1", "main:topic", cwd=work)
    assert set(await door.refs()) == {"refs/heads/main", "refs/heads/topic", "refs/tags/v1"}
    assert "[deleted]" in await door.good("push", "cygni", ":topic", ":v1", cwd=work)
    assert door.pushes.pushes[-1].quarantine is None
    assert {update.new for update in door.pushes.pushes[-1].updates} == {ZERO_ID}
    await door.commit(work, "amended")
    await door.good("commit", "-q", "--amend", "-m", "other", cwd=work)
    await door.good("push", "cygni", "main", cwd=work)
    await door.good("commit", "-q", "--amend", "-m", "again", cwd=work)
    assert "(non-fast-forward)" in (await door.git("push", "cygni", "main", cwd=work)).err
    assert "(forced update)" in await door.good("push", "-f", "cygni", "main", cwd=work)
    await door.good("clone", "-q", "--mirror", f"file://{work}", "mirror.git")
    await door.good("update-ref", "-d", "refs/remotes/cygni/main", cwd=door.root / "mirror.git")
    await door.good("push", "--mirror", door.url(), cwd=door.root / "mirror.git")
    assert set(await door.refs()) == {"refs/heads/main", "refs/tags/v1"}


async def test_the_same_commit_again_is_up_to_date(door: Door) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    assert "Everything up-to-date" in await door.good("push", "cygni", "main", cwd=work)
    assert len(door.pushes.pushes) == 1


async def test_push_options_reach_the_handler(door: Door) -> None:
    work = await door.work()
    await door.good("push", "-o", "detach", "-o", "x=; rm -rf $HOME", "cygni", "main", cwd=work)
    assert door.pushes.pushes[0].options == ("detach", "x=; rm -rf $HOME")


async def test_an_atomic_push_moves_all_or_nothing(door: Door) -> None:
    work = await door.work()
    await door.good("push", "--atomic", "cygni", "main", "main:topic", cwd=work)
    assert len(await door.refs()) == 2
    await door.commit(work, "second")
    result = await door.git("push", "--atomic", "cygni", "main", "main:refs/foo/x", cwd=work)
    assert result.code == 1
    assert len(door.pushes.pushes) == 1
    assert len(await door.refs()) == 2


async def test_porcelain_output_says_which_ref_was_refused(door: Door) -> None:
    work = await door.work()
    good = await door.git("push", "--porcelain", "cygni", "main", cwd=work)
    assert "*\trefs/heads/main:refs/heads/main\t[new branch]" in good.out
    assert good.out.rstrip().endswith("Done")
    door.pushes.received_by = refuse
    await door.commit(work, "second")
    bad = await door.git("push", "--porcelain", "cygni", "main", cwd=work)
    assert "!\trefs/heads/main:refs/heads/main\t[remote rejected] (pre-receive hook declined)" in bad.out


async def test_a_shallow_push_makes_a_new_app_that_can_be_cloned_and_pushed_to(door: Door) -> None:
    work = await door.work()
    for number in range(3):
        await door.commit(work, f"commit {number}")
    await door.good("clone", "-q", "--depth=1", f"file://{work}", "ci")
    ci = door.root / "ci"
    await door.good("push", door.url(), "main", cwd=ci)
    tip = (await door.good("rev-parse", "HEAD", cwd=ci)).strip()
    assert door.pushes.pushes[0].shallow == (tip,)
    assert await door.refs() == {"refs/heads/main": tip}
    await door.good("clone", "-q", door.url(), "copy")
    await door.commit(work, "full history again")
    await door.good("push", "cygni", "main", cwd=work)


async def test_a_shallow_push_to_an_app_with_history(door: Door) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    await door.commit(work, "second")
    await door.commit(work, "third")
    await door.good("clone", "-q", "--depth=1", f"file://{work}", "ci")
    await door.good("push", "--force", door.url(), "main", cwd=door.root / "ci")
    assert await door.refs() == {"refs/heads/main": (await door.good("rev-parse", "HEAD", cwd=work)).strip()}


REFUSED_REFS = [
    ("refs/foo/x", "Only branches and tags can be pushed"),
    ("refs/cygni/v1", "Only branches and tags can be pushed"),
    ("refs/heads/HEAD", "HEAD cannot be a branch"),
    ("refs/heads/-x", "is a name that is not accepted"),
    ("refs/heads/a;b", "is a name that is not accepted"),
    ("refs/heads/Main", "conflicts with main"),
    ("refs/heads/main/x", "conflicts with main"),
    ("refs/heads/deep", "conflicts with deep/er"),
]


async def test_refs_that_no_repository_takes_are_refused_before_the_handler(door: Door) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", "main:refs/heads/deep/er", cwd=work)
    before = await door.refs()
    for ref, reason in REFUSED_REFS:
        result = await door.git("push", "cygni", f"main:{ref}", cwd=work)
        assert result.code == 1, ref
        assert reason in result.err or "deny updating a hidden ref" in result.err, (ref, result.err)
    assert len(door.pushes.checked) == 1
    assert await door.refs() == before
    assert door.left_behind() == []


async def test_a_good_ref_does_not_slip_through_beside_a_hidden_one(door: Door) -> None:
    work = await door.work()
    result = await door.git("push", "cygni", "main", "main:refs/cygni/v1", cwd=work)
    assert result.code == 1
    assert door.pushes.pushes == []
    assert await door.refs() == {}


async def test_heads_branch_cannot_be_deleted(door: Door) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    result = await door.git("push", "cygni", ":main", cwd=work)
    assert "it cannot be deleted" in result.err
    assert len(door.pushes.pushes) == 1


async def test_hidden_refs_are_not_advertised(door: Door) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    tip = (await door.refs())["refs/heads/main"]
    await repository.write_ref(door.bare(), "refs/cygni/v1", tip, None)
    for version in "012":
        assert "cygni" not in await door.good("-c", f"protocol.version={version}", "ls-remote", door.url())


async def test_too_many_refs_at_once_and_in_all_are_refused_with_the_number(launch: Launch) -> None:
    door: Door = await launch(Limits(ref_updates=3, refs=4))
    work = await door.work()
    names = [f"main:refs/tags/t{number}" for number in range(5)]
    assert "more than 3 refs in one push" in (await door.git("push", "cygni", *names, cwd=work)).err
    assert door.pushes.pushes == []
    await door.good("push", "cygni", *names[:3], cwd=work)
    assert "may have 4 branches and tags" in (await door.git("push", "cygni", *names[3:], cwd=work)).err


@pytest.mark.parametrize("form", ["shop", "shop.git", "shop/", "shop.git/", "~/shop", "~/shop.git"])
async def test_every_form_of_a_repositorys_name_is_the_same_app(door: Door, form: str) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    assert "refs/heads/main" in await door.good("ls-remote", door.url(form))
    port = str(door.server.port)
    scp_like = f"{' '.join(door.ssh_options())} -p {port}"
    assert "refs/heads/main" in await door.good(
        "ls-remote", f"git@127.0.0.1:{form}", GIT_SSH_COMMAND=scp_like
    )


async def test_the_two_word_form_of_git_for_windows(door: Door) -> None:
    await repository.create_bare(door.bare())
    result = await door.ssh("git receive-pack '/shop.git'", stdin=b"0000")
    assert "report-status" in result.out
    assert result.code == 0


async def test_keepalives_flow_while_the_handler_is_silent(door: Door) -> None:
    async def silent(push: Push, client: Client) -> Verdict:
        await asyncio.sleep(5.6)  # git's own interval is 5 s; there is no condition to wait for
        return Verdict(accepted=True)

    door.pushes.received_by = silent
    work = await door.work()
    result = await door.git("push", "cygni", "main", cwd=work, GIT_TRACE_PACKET="1")
    assert result.code == 0
    assert "sideband< \\1" in result.err.replace("push<", "sideband<") or "< \\1\n" in result.err


async def test_control_sequences_of_the_handler_do_not_reach_the_terminal(door: Door) -> None:
    async def paint(push: Push, client: Client) -> Verdict:
        await client.line("\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2J\x1b[1Gmoved\x07\x9b1A 10%\r 50%\rdone")
        return Verdict(accepted=True)

    door.pushes.received_by = paint
    work = await door.work()
    said = await door.good("push", "cygni", "main", cwd=work)
    assert "done" in said
    assert "title" not in said
    assert "10%" not in said
    assert "\x07" not in said


async def test_a_pushed_gitattributes_does_not_change_an_archive(door: Door) -> None:
    work = await door.work()
    (work / ".gitattributes").write_text("* export-ignore\n*.txt export-subst\n")
    await door.good("add", ".gitattributes", cwd=work)
    await door.commit(work, "$Format:%H$")
    await door.good("push", "cygni", "main", cwd=work)
    env = dict.fromkeys(("GIT_DIR",), str(door.bare()))
    assert "file.txt" in await door.good("archive", "--format=tar", "main", cwd=door.bare(), **env)


async def test_repositories_are_private_and_named_by_id(door: Door) -> None:
    work = await door.work()
    await door.good("push", "cygni", "main", cwd=work)
    assert door.bare().stat().st_mode & 0o077 == 0
    hook: Path = door.root / "state" / "hooks" / "pre-receive"
    assert os.access(hook, os.X_OK)
    assert not list((door.bare() / "hooks").glob("*")) if (door.bare() / "hooks").exists() else True


async def test_old_histories_that_fsck_dislikes_are_taken_and_dangerous_trees_are_not(door: Door) -> None:
    work = await door.work()
    blob = (await door.good("rev-parse", "HEAD:file.txt", cwd=work)).strip()
    tree = f"100644 blob {blob}\t.git/config\n"
    bad = await door.run("git", "mktree", cwd=work, stdin=tree.replace("/config", "").encode())
    commit = (await door.good("commit-tree", bad.out.strip(), "-m", "evil", cwd=work)).strip()
    result = await door.git("push", "cygni", f"{commit}:refs/heads/main", cwd=work)
    assert result.code == 1
    assert "hasDotgit" in result.err
    assert door.pushes.pushes == []
    assert door.left_behind() == []
