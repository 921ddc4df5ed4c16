"""Small trees with the facts of real apps, and what becomes of each: `rows/*.toml`.

A row has `files` (`-> path` is a link, `+x ` an executable), perhaps `env`, and what is expected: `provider`, `picks`,
`web` (a command; empty for none), `runs` and `lacks` (parts of the Dockerfile), `notes` (ids) or `failure` (id) with
its `title`. `differs` says why we decide otherwise than builders that know the app.
"""

import tomllib
from pathlib import Path
from typing import Any

import pytest

from buildpacks.plan import BuildSettings, Catalog, Failure, Plan
from buildpacks.planner import plan
from buildpacks.render import render
from buildpacks.tree import MemoryFile, MemoryTree
from buildpacks.walk import EXECUTABLE, LINK

ROWS: dict[str, dict[str, Any]] = {
    f"{path.stem}: {name}": row
    for path in sorted((Path(__file__).parent / "rows").glob("*.toml"))
    for name, row in tomllib.loads(path.read_text()).items()
}
KNOWN = {"files", "env", "provider", "picks", "web", "processes", "runs", "lacks", "notes", "failure", "title", "differs", "suite", "port"}  # fmt: skip


def tree(files: dict[str, str]) -> MemoryTree:
    return MemoryTree({path: _file(text) for path, text in files.items()})


def _file(text: str) -> MemoryFile | str:
    if text.startswith("-> "):
        return MemoryFile(text.removeprefix("-> ").encode(), LINK)
    if text.startswith("+x "):
        return MemoryFile(text.removeprefix("+x ").encode(), EXECUTABLE)
    return text


@pytest.mark.parametrize("name", ROWS)
def test_a_known_app_gets_the_plan_or_the_failure_that_was_decided(name: str) -> None:
    row = ROWS[name]
    assert row.keys() <= KNOWN
    result = plan(tree(row["files"]), BuildSettings(), frozenset(row.get("env", ())))
    if "failure" in row:
        assert isinstance(result, Failure), f"planned as {result.provider}"
        assert (result.id, result.title) == (row["failure"], row["title"])
        return
    assert isinstance(result, Plan), result
    assert result.provider == row["provider"]
    assert row.get("suite", result.suite) == result.suite
    assert row.get("port", result.port.exposed) == result.port.exposed
    picks = {pick.name: pick.resolved for pick in result.picks}
    assert {name: picks.get(name) for name in row.get("picks", {})} == row.get("picks", {})
    if "web" in row:
        assert (result.web.command if result.web else "") == row["web"]
    if "processes" in row:
        types = [*(["release"] if result.release else []), *(process.type for process in result.processes)]
        assert sorted(types) == sorted(row["processes"])
    dockerfile = render(result, Catalog("token-0123456789"))
    for part in row.get("runs", ()):
        assert part in dockerfile
    for part in row.get("lacks", ()):
        assert part not in dockerfile
    assert set(row.get("notes", ())) <= {note.id for note in result.notes}


def test_there_are_rows_for_every_language() -> None:
    providers = {row.get("provider", row.get("failure", "").partition("/")[0]) for row in ROWS.values()}
    assert {
        "python",
        "node",
        "go",
        "ruby",
        "php",
        "java",
        "rust",
        "elixir",
        "dotnet",
        "deno",
        "static",
    } <= providers
    assert {"dockerfile", "procfile"} <= providers
    assert len(ROWS) > 100


def test_every_reason_to_differ_is_in_the_record_of_that_decision() -> None:
    record = Path(__file__).parents[2] / "docs/decisions/0020-where-builders-differ.md"
    told = [line.split(" | ")[-1].removesuffix(" |") for line in record.read_text().splitlines()[9:]]
    assert sorted(told) == sorted(row["differs"] for row in ROWS.values() if "differs" in row)
