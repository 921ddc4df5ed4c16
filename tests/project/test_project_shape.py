import ast
import re
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PACKAGES = ["config", "gitserver", "buildpacks", "deployer", "router", "cygni"]
MODULE_LINES = 400
FUNCTION_LINES = 60

OVERSIZED: set[str] = set()
"""Known debts: each must go, none may be added."""

HOSTS = [
    "pypi" + ".org",
    "python" + "hosted",
    "npm" + "js.",
    "deb" + ".debian",
    "archive" + ".ubuntu",
    "registry" + ".yarnpkg",
]


def oversized(root: Path) -> Iterator[str]:
    for package in PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name, text = str(path.relative_to(root)), path.read_text()
            if len(text.splitlines()) > MODULE_LINES:
                yield name
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    assert node.end_lineno is not None
                    if node.end_lineno - node.lineno + 1 > FUNCTION_LINES:
                        yield f"{name}:{node.name}"


def test_functions_and_modules_stay_small(root: Path) -> None:
    assert set(oversized(root)) == OVERSIZED, "something grew, or a known debt is paid: take it off the list"


def test_there_is_no_package_among_the_tests(tracked: list[Path], root: Path) -> None:
    """A test folder that is a package could shadow one of ours."""
    assert not [
        path for path in tracked if path.is_relative_to(root / "tests") and path.name == "__init__.py"
    ]


def test_test_files_have_names_of_their_own(tracked: list[Path], root: Path) -> None:
    names = [
        path.name for path in tracked if path.is_relative_to(root / "tests") and path.name.startswith("test_")
    ]
    assert len(names) == len(set(names))


def test_no_other_top_level_package_appeared(tracked: list[Path], root: Path) -> None:
    found = {
        path.parent.name for path in tracked if path.name == "__init__.py" and path.parent.parent == root
    }
    assert found == set(PACKAGES)


def test_no_package_registry_is_named(tracked: list[Path]) -> None:
    """Which registry serves an installation is the operator's matter: pip, npm and apt know it."""
    for path in tracked:
        text = path.read_bytes().decode(errors="replace")
        for host in HOSTS:
            assert host not in text, f"{path} names {host}"


def test_no_path_of_this_machine_is_named(tracked: list[Path], root: Path) -> None:
    home = re.compile(r"/home/(?!cygni\b|user\b|app\b)[a-z][a-z0-9_-]*/")
    for path in tracked:
        text = path.read_bytes().decode(errors="replace")
        assert f"{root}/" not in text, f"{path} names this checkout"
        assert not home.search(text), f"{path} names somebody's home directory"


def test_scripts_can_be_run_and_stop_at_the_first_error(root: Path, tracked: list[Path]) -> None:
    scripts = [path for path in tracked if path.read_bytes()[:2] == b"#!"]
    assert {"setup", "test", "check", "demo", "bench", "run"} <= {path.name for path in scripts}
    for path in scripts:
        if path.parent in {root / "script", root / ".ci"}:
            assert path.stat().st_mode & 0o111, f"{path} has no run bit"
            assert re.search(r"^set -euo? ?(pipefail)?", path.read_text(), re.MULTILINE), (
                f"{path} goes on after errors"
            )


def locked(root: Path) -> dict[str, str]:
    """Each requirement of the lock file and its lines."""
    text = (root / "requirements.lock").read_text()
    entries = re.findall(
        r"^([A-Za-z0-9][A-Za-z0-9._-]*(?:\[[^\]]*\])?)==(\S+)((?:.*\\\n)*.*)", text, re.MULTILINE
    )
    return {canonicalize_name(name.partition("[")[0]): rest for name, _, rest in entries}


def test_every_locked_requirement_has_a_hash(root: Path) -> None:
    entries = locked(root)
    assert len(entries) > 50
    assert [name for name, rest in entries.items() if "--hash=sha256:" not in rest] == []


def test_the_lock_covers_what_the_project_asks_for(root: Path, project: dict[str, dict[str, object]]) -> None:
    declared = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["dev"]]  # type: ignore[misc,index]
    wanted = {canonicalize_name(Requirement(str(each)).name) for each in declared}
    assert wanted - set(locked(root)) == set()
