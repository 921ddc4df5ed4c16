"""The container engine's refusals and absences, whichever stage met them, as a sentence for people."""

from collections.abc import Iterator
from contextlib import contextmanager

from buildpacks.buildkit.client import EngineRequestError, EngineUnavailableError
from cygni import messages
from cygni.domain.errors import UserError
from deployer.ports import EngineError


@contextmanager
def explained() -> Iterator[None]:
    """Turn the engine's errors into a UserError that says what happened, why, and what to do."""
    try:
        yield
    except EngineError as error:
        text = str(error)
        down = messages.engine_down(text, "try again")
        raise UserError(down if error.transient else messages.engine_refused(text)) from error
    except (EngineUnavailableError, EngineRequestError) as error:
        raise UserError(messages.engine_down(str(error), "try again")) from error
