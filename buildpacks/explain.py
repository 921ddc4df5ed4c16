"""What detection and planning decided and why, for people and for programs."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, Literal

from buildpacks.plan import SCHEMA, Candidate, Copy, Evidence, Failure, Plan, Process, Run, Step

_WIDTH = 10


def explain(
    result: Plan | Failure, candidates: tuple[Candidate, ...], form: Literal["text", "json"] = "text"
) -> str:
    """Describe a plan or a failure; ends without a newline."""
    if form == "json":
        return json.dumps(describe(result, candidates), indent=2, ensure_ascii=False)
    return "\n".join(_text(result, candidates))


def describe(result: Plan | Failure, candidates: tuple[Candidate, ...]) -> dict[str, Any]:
    """The result as JSON data: `provider`, `candidates`, and `picks`, `processes`, `notes`… or `failure`."""
    found = [_candidate(candidate) for candidate in candidates]
    if isinstance(result, Failure):
        provider = candidates[0].provider if candidates else None
        return {"schema": SCHEMA, "provider": provider, "candidates": found, "failure": _failure(result)}
    return {"schema": result.schema, "provider": result.provider, "candidates": found, **_plan(result)}


def _plan(plan: Plan) -> dict[str, Any]:
    return {
        "picks": [
            {
                "name": pick.name,
                "requested": pick.requested,
                "resolved": pick.resolved,
                "source": _evidence(pick.source),
                "others": [_evidence(other) for other in pick.others],
            }
            for pick in plan.picks
        ],
        "settings": [
            {"name": item.name, "value": item.value, "source": _evidence(item.source)}
            for item in plan.settings
        ],
        "suite": plan.suite,
        "root": plan.root,
        "packages": {
            kind: [{"name": item.name, "source": _evidence(item.source)} for item in packages]
            for kind, packages in (("build", plan.build_packages), ("run", plan.run_packages))
        },
        "steps": [
            {"name": step.name, "from": step.base, "actions": list(_actions(step))} for step in plan.steps
        ],
        "processes": [_process(process) for process in _all_processes(plan)],
        "port": {"exposed": plan.port.exposed},
        "notes": [{"level": note.level, "id": note.id, "text": note.text} for note in plan.notes],
    }


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "id": failure.id,
        "class": failure.cls,
        "title": failure.title,
        "body": failure.body,
        "retry": failure.retry,
        "evidence": [_evidence(evidence) for evidence in failure.evidence],
    }


def _candidate(candidate: Candidate) -> dict[str, Any]:
    evidence = [_evidence(item) for item in candidate.evidence]
    return {
        "provider": candidate.provider,
        "role": candidate.role,
        "rank": candidate.rank,
        "evidence": evidence,
    }


def _evidence(evidence: Evidence) -> dict[str, Any]:
    return {"rule": evidence.rule, "path": evidence.path, "line": evidence.line}


def _process(process: Process) -> dict[str, Any]:
    source = _evidence(process.source)
    return {"type": process.type, "command": process.command, "argv": list(process.argv), "source": source}


def _all_processes(plan: Plan) -> Iterable[Process]:
    return (*([plan.release] if plan.release else []), *plan.processes)


def _actions(step: Step) -> Iterator[str]:
    for action in step.actions:
        if isinstance(action, Copy):
            stage = f" from {action.stage}" if action.stage else ""
            yield f"copy {' '.join(action.sources)}{stage}"
        else:
            yield _run(action)


def _run(action: Run) -> str:
    caches = "".join(f"; cache {mount.purpose}" for mount in action.caches)
    return f"run {action.command}{caches}{'; sees the config' if action.secrets else ''}"


def _text(result: Plan | Failure, candidates: tuple[Candidate, ...]) -> Iterator[str]:
    if isinstance(result, Failure):
        yield from _candidate_rows("matched", candidates)
        yield _row("failure", f"{result.title} ({result.id})")
        yield from (f"{'':{_WIDTH}} {line}" for line in result.body.splitlines())
        return
    yield from _candidate_rows("detected", [item for item in candidates if item.provider == result.provider])
    yield from _candidate_rows("also seen", [item for item in candidates if item.provider != result.provider])
    for setting in result.settings:
        yield _row("setting", f"{setting.name} = {setting.value}  ({setting.source.place})")
    for pick in result.picks:
        asked = f' "{pick.requested}"' if pick.requested else ""
        lost = f"; also {', '.join(other.place for other in pick.others)}" if pick.others else ""
        yield _row("picked", f"{pick.name} {pick.resolved}  ({pick.source.place}{asked}{lost})")
    yield _row("stack", f"Debian {result.suite}")
    for label, packages in (("apt build", result.build_packages), ("apt run", result.run_packages)):
        for package in packages:
            yield _row(label, f"{package.name}  ({package.source.place})")
    for step in result.steps:
        yield _row("step", f"{step.name}: {'; '.join(_actions(step))}")
    for process in _all_processes(result):
        yield _row(
            "process",
            f"{process.type}: {process.command or 'the image’s own command'}  ({process.source.place})",
        )
    port = f"{result.port.exposed}, exposed by the Dockerfile" if result.port.exposed else "$PORT"
    yield _row("port", port)
    for note in result.notes:
        yield _row(note.level, note.text)


def _candidate_rows(label: str, candidates: Iterable[Candidate]) -> Iterator[str]:
    for candidate in candidates:
        yield _row(label, f"{candidate.provider}  ({', '.join(item.place for item in candidate.evidence)})")


def _row(label: str, text: str) -> str:
    return f"{label:{_WIDTH}} {text}"
