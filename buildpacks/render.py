"""A plan as a Dockerfile: the same bytes for the same plan, and nothing of the repository outside of quotes.

Only what the frontend inside Docker 20.10 has is used: cache, secret and bind mounts; no here-documents, no COPY --link.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from buildpacks.dockerfile import SECRET, rewrite
from buildpacks.plan import Catalog, Copy, Plan, Run, Step
from buildpacks.providers.base import APP

HASH_ARGUMENT = "CYGNI_SECRETS_HASH"
"""Build argument with a keyed hash of the config, so that a changed value runs the steps that see it again."""

USER = "1000:1000"
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./-]+")
_PLAIN_VALUE = re.compile(r"[A-Za-z0-9_./:,*=@ -]*")
_PREFIX = re.compile(r"[A-Za-z0-9-]{8,64}")
_NAME = re.compile(r"[a-z][a-z0-9-]*")
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+")


class RenderError(ValueError):
    """A plan holds text that may not stand in a Dockerfile. A provider let it through: a defect of ours."""


def render(plan: Plan, catalog: Catalog) -> str:
    """The Dockerfile that builds a plan.

    Raises:
        RenderError: the plan holds a path or value that cannot be written safely.
    """
    if not _PREFIX.fullmatch(catalog.cache_prefix):
        # Without a token of its own an app would share its caches with every other one.
        raise RenderError("the cache prefix must be 8 to 64 letters, digits or dashes")
    if plan.dockerfile is not None:
        return rewrite(plan.dockerfile, catalog.cache_prefix, catalog.own_secret_id)
    *earlier, last = plan.steps
    image = replace(last, environment={**last.environment, **plan.environment})
    bases, lines = _bases(plan, catalog)
    lines += [line for step in earlier for line in (*_stage(step, bases, catalog), "")]
    lines += [*_stage(image, bases, catalog), *_process(plan)]
    for line in lines:
        if "\n" in line or "\r" in line:
            raise RenderError("a line break inside an instruction")
    return "\n".join(lines) + "\n"


def render_ignore(plan: Plan) -> str:
    """The ignore file of a generated Dockerfile's context. An own Dockerfile's is the app's own `.dockerignore`."""
    return "".join(f"{pattern}\n" for pattern in (".git", *plan.ignored))


def _bases(plan: Plan, catalog: Catalog) -> tuple[dict[str, str], list[str]]:
    """What `build` and `run` stand for: the stack's images, or stages that add Debian packages to them."""
    bases, lines = {}, []
    for kind, packages in (("build", plan.build_packages), ("run", plan.run_packages)):
        image = f"{catalog.stacks}{_name(plan.suite)}:{kind}"
        bases[kind] = f"system-{kind}" if packages else image
        if packages:
            names = sorted({package.name for package in packages})
            lines += [f"FROM {image} AS system-{kind}", f"RUN {_install(names)}", ""]
    return bases, lines


def _install(names: list[str]) -> str:
    for name in names:
        if not _PACKAGE.fullmatch(name):
            raise RenderError(f"{name!r} is no Debian package's name")
    return (
        "apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends "
        f"{' '.join(names)} && rm -rf /var/lib/apt/lists/*"
    )


def _stage(step: Step, bases: Mapping[str, str], catalog: Catalog) -> Iterator[str]:
    yield f"FROM {bases.get(step.base, step.base)} AS {_name(step.name)}"
    if step.base in bases:
        yield f"WORKDIR {APP}"
    yield from _environment(step.environment)
    declared = False
    for action in step.actions:
        if isinstance(action, Copy):
            yield _copy(action)
            continue
        if action.secrets and catalog.secrets and not declared:
            declared = True
            yield f"ARG {HASH_ARGUMENT}"
        yield _run(action, catalog)


def _process(plan: Plan) -> Iterator[str]:
    """What the image says about how it runs."""
    if plan.folder != APP:
        if not _PLAIN_PATH.fullmatch(plan.folder):
            raise RenderError(f"the path {plan.folder!r} is not plain")
        yield f"WORKDIR {plan.folder}"
    yield f"USER {USER}"
    yield _json("ENTRYPOINT", ["/usr/bin/tini", "--"])
    if plan.web is not None:
        yield _json("CMD", plan.web.argv)


def _environment(variables: Mapping[str, str]) -> Iterator[str]:
    for name, value in variables.items():
        if not _PLAIN_VALUE.fullmatch(value):
            raise RenderError(f"the value of {name} is not plain")
    if variables:
        yield "ENV " + " ".join(f'{name}="{variables[name]}"' for name in sorted(variables))


def _copy(copy: Copy) -> str:
    for path in (*copy.sources, copy.target):
        if not _PLAIN_PATH.fullmatch(path):
            raise RenderError(f"the path {path!r} is not plain")
    flags = [f"--from={_name(copy.stage)}"] if copy.stage else []
    flags += [f"--chown={USER}"] if copy.owned else []
    return _json(" ".join(["COPY", *flags]), [*copy.sources, copy.target])


def _run(run: Run, catalog: Catalog) -> str:
    mounts = [
        f"--mount=type=cache,id={catalog.cache_prefix}-{mount.purpose},target={mount.target},sharing={mount.sharing}"
        for mount in run.caches
    ]
    command = run.command
    if run.secrets and catalog.secrets:
        mounts.append(f"--mount=type=secret,id={SECRET}")
        command = f". /run/secrets/{SECRET} && {command}"
    if run.foreign:
        # Written as JSON, so that nothing in it can be read as a flag, a here-document or another instruction.
        command = json.dumps(["/bin/sh", "-c", command])
    return " ".join(["RUN", *mounts, command])


def _json(instruction: str, words: tuple[str, ...] | list[str]) -> str:
    """The exec form: JSON escapes line breaks and everything outside ASCII."""
    return f"{instruction} {json.dumps(list(words))}"


def _name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise RenderError(f"{name!r} is no stage's name")
    return name
