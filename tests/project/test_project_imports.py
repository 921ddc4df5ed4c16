import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest

PACKAGES = ["config", "gitserver", "buildpacks", "deployer", "router", "cygni"]

SDK_HOMES = {
    "asyncssh": ("gitserver",),
    "docker": ("buildpacks", "deployer"),
    "boto3": ("deployer",),
    "botocore": ("deployer",),
    "sqlmodel": ("cygni/store",),
    "sqlalchemy": ("cygni/store",),
}


def modules(root: Path) -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((root / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """The absolute dotted names a module imports; for `from a import b` that is `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def may_import(package: Path) -> list[str]:
    """The names after `May import:` in a package's docstring."""
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    match = re.search(r"^May import: (.*?)\.$", text, re.MULTILINE | re.DOTALL)
    assert match, f"{package}/__init__.py does not say 'May import: …'"
    return re.split(r",\s+", match[1])


def test_the_import_contract_holds(root: Path) -> None:
    command = [str(Path(sys.executable).parent / "lint-imports"), "--no-cache"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_package_says_its_one_job_and_what_it_may_import(root: Path) -> None:
    packages = [path.parent for package in PACKAGES for path in (root / package).rglob("__init__.py")]
    for package in packages:
        text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
        if "migrations" not in package.parts:
            assert may_import(package)
            assert text.splitlines()[0].endswith("."), package


@pytest.mark.parametrize("package", PACKAGES)
def test_what_a_package_says_is_what_the_contract_allows(
    root: Path, project: dict[str, Any], package: str
) -> None:
    forbidden = set()
    for contract in project["tool"]["importlinter"]["contracts"]:
        if contract["type"] == "independence" and package in contract["modules"]:
            forbidden |= {*contract["modules"]} - {package}
        elif contract["type"] == "forbidden" and package in contract["source_modules"]:
            forbidden |= {*contract["forbidden_modules"]}
    said = set(may_import(root / package)) - {"nothing of ours"}
    assert said == {*PACKAGES} - forbidden - {package}


@pytest.mark.parametrize(
    "package", [*PACKAGES, "cygni/domain", "cygni/store", "cygni/jobs", "cygni/logs", "deployer/docker"]
)
def test_a_package_imports_only_what_it_says(root: Path, package: str) -> None:
    own = package.replace("/", ".")
    allowed = [own, *may_import(root / package)]
    for path in sorted((root / package).rglob("*.py")):
        for name in imports(path):
            if name.split(".")[0] in PACKAGES:
                assert any(f"{name}.".startswith(f"{each}.") for each in allowed), f"{path} imports {name}"


@pytest.mark.parametrize("sdk", SDK_HOMES)
def test_an_sdk_stays_at_the_edge(root: Path, sdk: str) -> None:
    homes = tuple(f"{root}/{home}/" for home in SDK_HOMES[sdk])
    for path in modules(root):
        if not str(path).startswith(homes):
            assert sdk not in {name.split(".")[0] for name in imports(path)}, f"{path} imports {sdk}"


def test_our_top_level_names_belong_to_us_alone() -> None:
    """`config` and `router` exist elsewhere: another distribution in the environment must not provide them."""
    owners = packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, ["cygni"])) == {"cygni"}, f"{package} comes from {owners[package]}"


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_comes_from_this_checkout(root: Path, package: str) -> None:
    assert Path(str(__import__(package).__file__)).parent == root / package


def environment_uses(path: Path) -> bool:
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
    return any(
        node.attr in {"environ", "environb", "getenv"}
        and isinstance(node.value, ast.Name)
        and node.value.id == "os"
        for node in nodes
    )


def test_settings_are_read_from_the_environment_in_config_only(root: Path) -> None:
    """The others hand it to a child process or read what is no setting of a server; none is added unseen."""
    others = {
        "buildpacks/gittree.py",  # PATH, for git
        "buildpacks/providers/static_server.py",  # runs inside a static app's container: PORT
        "router/main.py",  # systemd's LISTEN_FDS
        "router/supervisor.py",  # for the workers
    }
    found = {str(path.relative_to(root)) for path in modules(root) if environment_uses(path)}
    assert {name for name in found if not name.startswith("config/")} == others


def test_no_module_is_run_from_a_directory_that_a_push_may_fill(root: Path) -> None:
    """`python -m` puts the working directory first on the path unless PYTHONSAFEPATH is set."""
    for path in modules(root):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.List | ast.Tuple):
                words = [item.value for item in node.elts if isinstance(item, ast.Constant)]
                assert not ("-m" in words and len(words) < len(node.elts)), (
                    f"{path}:{node.lineno} runs a module"
                )
