"""What stopped a build, as the error that a pusher reads: what happened, why, what to do."""

from buildpacks.buildkit.client import EngineRequestError, EngineUnavailableError
from buildpacks.classify import classify
from buildpacks.plan import Failure
from buildpacks.ports import BuildFailedError
from buildpacks.stacks.stack import StackError
from cygni import messages
from cygni.domain.errors import BuildError


def refused(failure: Failure) -> BuildError:
    """There is no plan: nothing was detected, or a file of the source is wrong."""
    return BuildError("\n".join(failure.lines), failure_id=failure.id, headline=failure.title)


def failed(error: BuildFailedError) -> BuildError:
    """The build ended without an image."""
    if error.cause == "engine":
        return engine_down(error)
    known = classify(error.step, error.exit_code, error.tail)
    advice = (
        known.lines if known else (messages.BUILD_ADVICE.get(error.cause, messages.BUILD_ADVICE["exit"]),)
    )
    headline = messages.build_failed(error.cause, str(error), error.step)
    failure_id = known.id if known else f"build/{error.cause}"
    return BuildError(
        "\n".join([headline, *advice]), failure_id=failure_id, headline=headline.partition("\n")[0]
    )


def may_pass(error: BuildFailedError) -> bool:
    """Whether something that we only reach failed, and not the app: then the same build can work in a moment."""
    known = classify(error.step, error.exit_code, error.tail)
    return error.cause == "exit" and known is not None and known.retry and known.cls == "external"


def engine_down(
    error: BuildFailedError | EngineUnavailableError | EngineRequestError, then: str = "push again"
) -> BuildError:
    """The engine did not answer, refused, or went away."""
    return BuildError(
        messages.engine_down(str(error), then),
        failure_id="build/engine",
        headline="the container engine does not answer",
    )


def no_stack(error: StackError) -> BuildError:
    """The base images are missing and could not be made."""
    return BuildError(
        messages.no_stack(str(error)), failure_id="build/stack", headline="the base images could not be made"
    )


def disk_full(free: int, reserve: int) -> BuildError:
    """Too little space to begin."""
    return BuildError(
        messages.disk_almost_full(free, reserve),
        failure_id="build/disk",
        headline="the server's disk is almost full",
    )
