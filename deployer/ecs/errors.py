"""What goes wrong on AWS, in words that name the cause and what to do about it."""

from collections.abc import Iterator, Mapping
from typing import Any

from deployer.ports import EngineError


class AwsError(EngineError):
    """AWS refused a call. `code` is AWS's name of the reason."""

    def __init__(self, message: str, code: str, *, transient: bool = False) -> None:
        super().__init__(message, transient=transient)
        self.code = code


class SizeError(EngineError):
    """A size that Fargate does not offer; `nearest` is `(cpu units, MiB)` of one that it does."""

    def __init__(self, message: str, nearest: tuple[int, int]) -> None:
        super().__init__(message)
        self.nearest = nearest


class NotOnEcsError(EngineError):
    """Something other engines do and this one does not yet."""


THROTTLES = frozenset(
    {"ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"}
)
_DENIED = frozenset({"AccessDeniedException", "AccessDenied", "UnauthorizedOperation"})
_CREDENTIALS = frozenset(
    {
        "UnrecognizedClientException",
        "InvalidClientTokenId",
        "ExpiredTokenException",
        "ExpiredToken",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
    }
)
_SERVER_ERROR = 500


def refused(operation: str, answer: Mapping[str, Any]) -> AwsError:
    """What AWS answered to `ecs:CreateService`, in a sentence."""
    code = str(answer.get("Error", {}).get("Code", ""))
    text = str(answer.get("Error", {}).get("Message", "")) or code
    status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in THROTTLES:
        return AwsError(f"AWS slows {operation} down: {text}", code, transient=True)
    if code in _DENIED:
        return AwsError(
            f"AWS does not permit {operation}: {text} Add this action to the policy of the server's role.",
            code,
        )
    if code in _CREDENTIALS:
        return AwsError(
            f"AWS does not accept the server's credentials at {operation}: {text} Renew them, or give the "
            "machine a role.",
            code,
        )
    if code == "ClusterNotFoundException":
        return AwsError(
            f"{operation}: there is no such ECS cluster in this region. Check CYGNI_ECS_CLUSTER and "
            "CYGNI_ECS_REGION.",
            code,
        )
    return AwsError(f"{operation} was refused: {text}", code, transient=status >= _SERVER_ERROR)


def unanswered(operation: str, error: BaseException) -> EngineError:
    """No answer came: no credentials, no network, no such region."""
    names = {type(item).__name__ for item in _chain(error)}
    if names & {"NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError"}:
        return EngineError(
            f"{operation}: the server has no AWS credentials. Give the machine a role, or set AWS_ACCESS_KEY_ID "
            "and AWS_SECRET_ACCESS_KEY."
        )
    if "EndpointConnectionError" in names:
        return EngineError(
            f"{operation}: AWS does not answer. Check the network and CYGNI_ECS_REGION.", transient=True
        )
    return EngineError(f"{operation}: the connection to AWS broke", transient=True)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__
