"""The three source trees agree, stay inside their limits, and read a push before it is accepted."""

import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from buildpacks.detect import detect
from buildpacks.plan import Plan
from buildpacks.planner import plan
from buildpacks.ports import TreeLimitError, TreeLimits
from buildpacks.tree import DirectoryTree, GitTree, MemoryFile, MemoryTree, TreeError
from buildpacks.walk import EXECUTABLE, FILE, LINK, SUBMODULE, follow_link, printable

Git = Callable[..., str]


def write(root: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


SMALL = {"a-b": b"1", "a.txt": b"22", "a/b/c.py": b"333", "a/z": b"", "run.sh": b"#!/bin/sh\n"}


def commit(git: Git, repo: Path, files: dict[str, bytes]) -> str:
    write(repo, files)
    git("add", "-A")
    git("commit", "-qm", "x")
    return git("rev-parse", "HEAD")


def test_the_three_trees_agree(git: Git, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    write(repo, SMALL)
    (repo / "run.sh").chmod(0o755)
    (repo / "link").symlink_to("a/z")
    head = commit(git, repo, {})
    memory = MemoryTree(
        {**SMALL, "run.sh": MemoryFile(SMALL["run.sh"], EXECUTABLE), "link": MemoryFile(b"a/z", LINK)}
    )
    with GitTree(repo / ".git", None, head) as tree:
        expected = list(tree.entries())
        for other in (DirectoryTree(repo), memory):
            assert list(other.entries()) == expected
            assert other.files("**/*.py") == tree.files("**/*.py") == ["a/b/c.py"]
        assert b"".join(tree.chunks("link")) == b"a/z"
        assert tree.read("link") is None
        assert tree.is_executable("run.sh")
        assert not tree.is_executable("a.txt")
    assert [entry.path for entry in expected] == ["a-b", "a.txt", "a/b/c.py", "a/z", "link", "run.sh"]


def test_paths_come_in_the_order_git_lists_them(git: Git, tmp_path: Path) -> None:
    names = ["a", "a.b", "a-b", "a0/x", "b/x", "b.x", "b-x", "ä", "é/x", "z z"]
    head = commit(git, tmp_path / "repo", {name if name != "a" else "a": b"x" for name in names})
    listed = git("ls-tree", "-rz", "--name-only", head).rstrip("\0").split("\0")
    with GitTree(tmp_path / "repo/.git", None, head) as tree:
        assert [entry.path for entry in tree.entries()] == listed
    assert [entry.path for entry in DirectoryTree(tmp_path / "repo").entries()] == listed


@pytest.mark.parametrize("packed", [False, True])
def test_sizes_are_right_for_loose_packed_and_delta_objects(git: Git, tmp_path: Path, packed: bool) -> None:
    big = os.urandom(40_000)
    commit(git, tmp_path / "repo", {"big": big, "small": b"x"})
    head = commit(git, tmp_path / "repo", {"big": big[:20_000] + b"changed" + big[20_000:]})
    if packed:
        git("repack", "-adfq", "--depth=20", "--window=20")
        assert "delta" in git(
            "cat-file", "--batch-check=%(objectname) delta:%(deltabase)", "--batch-all-objects"
        )
    for name in (head, git("rev-parse", "HEAD~1"), git("rev-parse", "HEAD^{tree}")):
        listed = git("ls-tree", "-rl", name).splitlines()
        with GitTree(tmp_path / "repo/.git", None, name) as tree:
            assert [entry.size for entry in tree.entries()] == [int(line.split()[3]) for line in listed]
            assert b"".join(tree.chunks("small")) == b"x"


def test_a_tag_leads_to_its_tree(git: Git, tmp_path: Path) -> None:
    commit(git, tmp_path / "repo", SMALL)
    git("tag", "-am", "x", "v1")
    with GitTree(tmp_path / "repo/.git", None, git("rev-parse", "v1")) as tree:
        assert tree.read("a.txt") == b"22"


def test_a_push_is_read_from_its_quarantine_and_the_repository_together(git: Git, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    commit(git, repo, SMALL)
    quarantine = tmp_path / "quarantine"
    quarantine.mkdir()
    env = {
        "GIT_OBJECT_DIRECTORY": str(quarantine),
        "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(repo / ".git/objects"),
    }
    write(repo, {"a.txt": b"changed", "large": bytes(5 << 20)})
    git("add", "-A", env=env)
    tree_id = git("write-tree", env=env)
    with GitTree(repo / ".git", quarantine, tree_id) as tree:
        assert tree.read("a.txt") == b"changed"
        assert tree.read("a/b/c.py") == b"333"
        assert sum(map(len, tree.chunks("large"))) == 5 << 20
    with pytest.raises(TreeError, match="missing"):
        GitTree(repo / ".git", None, tree_id)


def test_a_large_file_comes_in_pieces_and_may_be_left_half_read(git: Git, tmp_path: Path) -> None:
    content = os.urandom(9 << 20)
    head = commit(git, tmp_path / "repo", {"large": content})
    with GitTree(tmp_path / "repo/.git", None, head) as tree:
        pieces = list(tree.chunks("large"))
        assert b"".join(pieces) == content
        assert max(map(len, pieces)) < 1 << 20
        half = tree.chunks("large")
        assert next(half)
        close = half.close  # type: ignore[attr-defined]
        close()


def test_a_tree_bomb_is_refused_at_once(git: Git, tmp_path: Path) -> None:
    """Ten trees of ten entries each stand for 10^10 paths; links between trees make it cheap to push."""
    blob = git("hash-object", "-w", "--stdin", stdin=b"x")
    below, kind = blob, "100644 blob"
    for _ in range(10):
        listing = "".join(f"{kind} {below}\tn{number}\n" for number in range(10))
        below, kind = git("mktree", stdin=listing.encode()), "040000 tree"
    with GitTree(tmp_path / "repo/.git", None, below) as tree:
        started = time.perf_counter()
        for walk in (lambda: list(tree.entries()), lambda: tree.files("**/*.py")):
            with pytest.raises(TreeLimitError, match="more than 100000 files"):
                walk()
        assert time.perf_counter() - started < 20


def test_a_chain_of_wide_folders_is_refused_before_it_fills_memory(git: Git, tmp_path: Path) -> None:
    blob = git("hash-object", "-w", "--stdin", stdin=b"x")
    files = "".join(f"100644 blob {blob}\tn{number}\n" for number in range(4_000))
    below = git("mktree", stdin=files.encode())
    for _ in range(60):
        below = git("mktree", stdin=f"{files}040000 tree {below}\ta\n".encode())
    opened = GitTree(tmp_path / "repo/.git", None, below, TreeLimits(files=10_000))
    tracemalloc.start()
    with opened as tree, pytest.raises(TreeLimitError, match="more than 10000 files, reached at a/a/"):
        list(tree.entries())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 << 20


def test_a_bomb_without_files_is_refused_too(git: Git, tmp_path: Path) -> None:
    below = git("mktree", stdin=b"")
    for _ in range(12):
        listing = "".join(f"040000 tree {below}\tn{number}\n" for number in range(8))
        below = git("mktree", stdin=listing.encode())
    limits = TreeLimits(files=5_000)
    bomb = GitTree(tmp_path / "repo/.git", None, below, limits)
    with bomb as tree, pytest.raises(TreeLimitError, match="more than 5000 files"):
        list(tree.entries())


@pytest.mark.parametrize(
    ("limits", "files", "text"),
    [
        (TreeLimits(files=3), {f"f{number}": b"" for number in range(4)}, "more than 3 files"),
        (
            TreeLimits(total_bytes=10),
            {"a": b"12345", "b": b"123456"},
            "more than 10 bytes of source, reached at b",
        ),
        (TreeLimits(depth=2), {"a/b/c/d": b""}, "more than 2 directories deep at a/b/c"),
        (TreeLimits(path_bytes=8), {"a/12345678": b""}, "a path is longer than 8 bytes"),
    ],
)
def test_every_limit_names_itself_and_the_path(
    limits: TreeLimits, files: dict[str, bytes], text: str, tmp_path: Path
) -> None:
    write(tmp_path, files)
    for tree in (MemoryTree(files, limits), DirectoryTree(tmp_path, limits)):
        with pytest.raises(TreeLimitError, match=text):
            list(tree.entries())


def test_a_deep_tree_does_not_stop_a_look_at_the_root() -> None:
    tree = MemoryTree({"app.py": "x", "/".join("abcdef"): "x"}, TreeLimits(depth=2))
    assert tree.files("*.py") == ["app.py"]


def test_a_file_over_the_read_limit_is_refused() -> None:
    with pytest.raises(TreeLimitError, match="f is larger than 3 bytes"):
        MemoryTree({"f": b"1234"}).read("f", 3)


@pytest.mark.parametrize("name", [b"..", b".git", b"."])
def test_names_that_lead_elsewhere_are_refused(name: bytes, git: Git, tmp_path: Path) -> None:
    blob = git("hash-object", "-w", "--stdin", stdin=b"x")
    raw = b"100644 " + name + b"\0" + bytes.fromhex(blob)
    tree_id = git("hash-object", "-w", "-t", "tree", "--literally", "--stdin", stdin=raw)
    opened = GitTree(tmp_path / "repo/.git", None, tree_id)
    with opened as tree, pytest.raises(TreeError, match="unusable name"):
        list(tree.entries())


def test_a_submodule_is_an_entry_without_content(git: Git, tmp_path: Path) -> None:
    tree_id = git("mktree", "--missing", stdin=f"160000 commit {'1' * 40}\tsub\n".encode())
    with GitTree(tmp_path / "repo/.git", None, tree_id) as tree:
        [entry] = tree.entries()
        assert (entry.path, entry.mode, entry.size) == ("sub", SUBMODULE, 0)
        assert list(tree.chunks("sub")) == []


def test_what_is_no_tree_is_refused(git: Git, tmp_path: Path) -> None:
    blob = git("hash-object", "-w", "--stdin", stdin=b"x")
    for name in (blob, "HEAD", "1" * 40, "--help", "é" * 40):
        with pytest.raises(TreeError):
            GitTree(tmp_path / "repo/.git", None, name)


def test_a_directory_is_never_followed_out(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("secret")
    root = tmp_path / "root"
    (root / ".git").mkdir(parents=True)
    (root / ".git/config").write_text("x")
    (root / "out").symlink_to(secret)
    (root / "folder").symlink_to(tmp_path)
    os.mkfifo(root / "pipe")
    tree = DirectoryTree(root)
    assert [(entry.path, entry.mode) for entry in tree.entries()] == [("folder", LINK), ("out", LINK)]
    for path in ("out", "folder/secret", "../secret", ".git/config", "pipe"):
        assert tree.read(path) is None
    assert follow_link(tree, "out") == "out"


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        (b"real", "real"),
        (b"./d/../real", "real"),
        (b"../x", "l"),
        (b"/etc/passwd", "l"),
        (b"l", "l"),
        (b".", "l"),
    ],
)
def test_links_are_followed_inside_only(target: bytes, expected: str) -> None:
    tree = MemoryTree({"l": MemoryFile(target, LINK), "real": "x"})
    assert follow_link(tree, "l") == expected


@pytest.mark.parametrize(
    ("provider", "own"),
    [
        ("python", {"requirements.txt": b"flask\ngunicorn\n", "app.py": b"app = Flask(__name__)"}),
        ("node", {"package.json": b'{"scripts": {"start": "node x.js"}}'}),
        ("go", {"go.mod": b"module x\ngo 1.25", "main.go": b"package main\n"}),
        ("ruby", {"Gemfile": b"", "app.rb": b""}),
        ("static", {"index.html": b""}),
    ],
)
def test_a_plan_for_five_thousand_files_takes_milliseconds(
    git: Git, tmp_path: Path, provider: str, own: dict[str, bytes]
) -> None:
    files = {f"src/d{number % 50}/d{number % 7}/f{number}.py": b"x = 1\n" for number in range(5_000)}
    head = commit(git, tmp_path / "repo", {**files, **own})
    git("repack", "-adq")
    timings = []
    for _ in range(5):
        started = time.perf_counter()
        with GitTree(tmp_path / "repo/.git", None, head) as tree:
            assert detect(tree)[0].provider == provider
            assert isinstance(plan(tree), Plan)
        timings.append(time.perf_counter() - started)
    assert min(timings) < 0.05


def test_text_for_terminals_holds_no_control_characters() -> None:
    assert printable("a\x1b[31m\nb\u202e") == "a\\x1b[31m\\nb\\u202e"
    assert len(printable("x" * 1000)) == 201


def test_modes_of_memory_files_default_to_plain() -> None:
    [entry] = MemoryTree({"a": "x"}).entries()
    assert entry.mode == FILE
