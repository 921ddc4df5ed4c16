"""Why a task ended, in the words that other engines use. Pure."""

from collections.abc import Mapping, Sequence

_MEMORY = ("OutOfMemoryError", "OutOfMemory", "out of memory")
_CAPACITY = (
    "Capacity is unavailable",
    "unable to place a task",
    "limit on the number of vCPUs",
    "capacity",
    "RESOURCE:",
)
_CAUSES: Sequence[tuple[tuple[str, ...], str]] = (
    (_MEMORY, "It ran out of memory."),
    (
        ("CannotPullContainer", "CannotPullImageManifest", "pull image"),
        "The image could not be pulled: {detail} Check that it exists, and that the subnets have a route to it.",
    ),
    (
        ("secretsmanager", "unable to pull secrets", "retrieve secret"),
        "The config could not be read: {detail} Check the policy of CYGNI_ECS_EXECUTION_ROLE.",
    ),
    (
        ("initialize logging driver", "log driver", "awslogs"),
        "The log group could not be written to: {detail} Check CYGNI_ECS_LOG_GROUP and the execution role.",
    ),
    (
        ("free addresses", "InsufficientFreeAddresses", "RESOURCE:ENI"),
        "No address is left in the subnets: {detail} Name larger or further ones in CYGNI_ECS_SUBNETS.",
    ),
    (
        ("limit on the number of vCPUs",),
        "The account's Fargate vCPU quota is reached: {detail} Ask AWS to raise it (Service Quotas, Fargate).",
    ),
    (_CAPACITY, "AWS has no capacity for it now: {detail}"),
    (("Spot", "SpotInterruption"), "AWS took its Spot capacity back: {detail}"),
)


def ran_out_of_memory(reason: str, stopped_reason: str) -> bool:
    """Whether the kernel ended it for its memory."""
    return any(mark in reason or mark in stopped_reason for mark in _MEMORY)


def explain(stop_code: str, stopped_reason: str, reason: str = "") -> str:
    """One or two sentences about a task that never ran."""
    detail = _sentence(reason or stopped_reason or stop_code or "no reason was given")
    text = f"{reason} {stopped_reason} {stop_code}"
    for marks, words in _CAUSES:
        if any(mark in text for mark in marks):
            return words.format(detail=detail)
    return f"The task could not be started: {detail}"


def obstacle(messages: Sequence[str]) -> str | None:
    """What keeps ECS from placing a task, out of a service's newest messages; None for nothing."""
    for message in messages:
        if any(mark in message for mark in (*_CAPACITY, "was unable to", "free addresses")):
            return explain("", message)
    return None


def refused(failures: Sequence[Mapping[str, str]]) -> str:
    """Why RunTask started nothing, although it answered with success."""
    first = failures[0] if failures else {}
    return explain("", first.get("reason", ""), first.get("detail", ""))


def _sentence(text: str) -> str:
    text = " ".join(text.split())
    return text if text.endswith((".", "!", "?")) else f"{text}."
